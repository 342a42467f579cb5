# TDH.MEM.SEPT.ADD and SEPT.REMOVE, every check in order, both versions (Dynamic PAMT)
host memory=4G dpamt=on lps=4
td t gpaw=48 vcpus=2
lp 2
TDH.PHYMEM.PAMT.ADD rcx=0x80000001 rdx=0xa0000000 r8=0xa0001000 -> TDX_SUCCESS
# --- RDX's flags and reserved bits
TDH.MEM.SEPT.ADD rcx=0xf rdx=$t+0x2 r8=0x123 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0xf rdx=$t+0x801 r8=0x123 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0xf rdx=0x10000000000001 r8=0x123 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0xf rdx=0x8000000000001 r8=0x123 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0xf rdx=0x100000001 r8=0x123 -> TDX_OPERAND_ADDR_RANGE_ERROR|RDX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0xf rdx=0x80000001 r8=0x123 -> TDX_PAGE_METADATA_INCORRECT|RDX rcx=0x0 rdx=0x0
# --- page_info, walk, entry: before R8
TDH.MEM.SEPT.ADD rcx=0xb rdx=$t r8=0x123 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x4 rdx=$t r8=0x123 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x0 rdx=$t r8=0x123 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x40000003 rdx=$t r8=0x123 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x800000000003 rdx=$t r8=0x123 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=0x123 -> TDX_EPT_WALK_FAILED|RCX rcx=0x8000000000000000 rdx=0x3
# --- R8
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x123 -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0xffffffffffffffff -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x10000080000000 -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x4000000080000000 -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x8400080000000 -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x8000000100000000 -> TDX_OPERAND_ADDR_RANGE_ERROR|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$t -> TDX_OPERAND_BUSY|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x60000000 -> TDX_MISSING_PAMT_PAGE_PAIR|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x8000000080000000 -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.PHYMEM.PAGE.RDMD rcx=0x80000000 -> TDX_SUCCESS rcx=0x8 rdx=$t r8=0x0 r9=0x0 r10=0x0 r11=0x0
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=0x80000000 -> TDX_PAGE_METADATA_INCORRECT|R8 rcx=0x0 rdx=0x0
# --- what is there already
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x123 -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x407 rdx=0x8403
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0xffffffffffffffff -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t+0x1 r8=0xffffffffffffffff -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t+0x1 r8=0x123 -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t+0x1 r8=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t+0x1 r8=0x80001000 -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x60000000 -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD rcx=0x200001 rdx=$t+0x1 r8=0x123 -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x80000000600000f0 rdx=0x201
# --- version 1: R8 to R11 come back NULL when consumed, bit 63 set when not, also when the call fails
TDH.MEM.SEPT.ADD version=1 rcx=0x1 rdx=$t r8=0x80002000 r9=0x80003000 r10=0xffffffffffffffff r11=0x80004000 -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0xffffffffffffffff r9=0x8000000080003000 r10=0xffffffffffffffff r11=0x8000000080004000
TDH.MEM.SEPT.ADD version=1 rcx=0x1 rdx=$t r8=0x80003000 r9=0xffffffffffffffff r10=0xffffffffffffffff r11=0xffffffffffffffff -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x407 rdx=0x8401 r8=0x8000000080003000 r9=0xffffffffffffffff
TDH.MEM.SEPT.ADD version=1 rcx=0x1 rdx=$t+0x1 r8=0xffffffffffffffff r9=0xffffffffffffffff r10=0xffffffffffffffff r11=0xffffffffffffffff -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0xffffffffffffffff
TDH.MEM.SEPT.ADD version=1 rcx=0x400001 rdx=$t r8=0xffffffffffffffff r9=0xffffffffffffffff r10=0xffffffffffffffff r11=0xffffffffffffffff -> TDX_OPERAND_INVALID|R8 rcx=0x0 rdx=0x0
TDH.MEM.SEPT.ADD version=2 rcx=0x400001 rdx=$t r8=0x80003000 r9=0x5 -> TDX_OPERAND_INVALID|RAX rcx=0x0 rdx=0x0 r8=0x80003000 r9=0x5
# --- SEPT.REMOVE: levels, entry, BLOCK, TRACK, children
TDH.MEM.SEPT.REMOVE version=2 rcx=0x1 rdx=$t -> TDX_OPERAND_INVALID|RAX rcx=0x0 rdx=0x0 r9=0xffffffffffffffff r10=0xffffffffffffffff r11=0xffffffffffffffff
TDH.MEM.SEPT.REMOVE rcx=0x0 rdx=$t -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.REMOVE rcx=0x4 rdx=$t -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.REMOVE rcx=0x1 rdx=$t+0x1 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.REMOVE rcx=0x200001 rdx=$t -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x80000000600000f0 rdx=0x201
TDH.MEM.SEPT.REMOVE rcx=0x400001 rdx=$t -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x8000000000000000 rdx=0x1
TDH.MEM.SEPT.REMOVE rcx=0x1 rdx=$t -> TDX_GPA_RANGE_NOT_BLOCKED|RCX rcx=0x407 rdx=0x8401
TDH.MEM.PAGE.AUG rcx=0x0 rdx=$t r8=0x80005000 -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.RANGE.BLOCK rcx=0x1 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.SEPT.REMOVE rcx=0x1 rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX rcx=0x0 rdx=0x0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.SEPT.REMOVE rcx=0x1 rdx=$t -> TDX_EPT_PAGE_NOT_FREE|RCX rcx=0x0 rdx=0x8101
TDH.MEM.RANGE.UNBLOCK rcx=0x1 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.RANGE.BLOCK rcx=0x0 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.RANGE.BLOCK rcx=0x1 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.REMOVE rcx=0x0 rdx=$t -> TDX_EPT_WALK_FAILED|RCX rcx=0x0 rdx=0x8101
TDH.MEM.RANGE.UNBLOCK rcx=0x1 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.PAGE.REMOVE rcx=0x0 rdx=$t -> TDX_SUCCESS rcx=0x80005000 rdx=0x0
TDH.MEM.RANGE.BLOCK rcx=0x1 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.SEPT.REMOVE version=1 rcx=0x1 rdx=$t -> TDX_SUCCESS rcx=0x80002000 rdx=0x0 r9=0xffffffffffffffff r10=0xffffffffffffffff r11=0xffffffffffffffff
TDH.MEM.SEPT.REMOVE rcx=0x1 rdx=$t -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x8000000000000000 rdx=0x1
