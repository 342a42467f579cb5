# TDH.MEM.PAGE.AUG maps a page, 4K or 2M, into a running TD. It is PENDING until the guest accepts it, and
# its content is lost at that time.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_EPT_WALK_FAILED|RCX rcx=0x8000000000000000 rdx=3
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x400001 rdx=$t r8=$p2 -> TDX_SUCCESS

TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS rcx=0 rdx=0
TDH.MEM.PAGE.AUG rcx=0x400000 rdx=$t r8=0x50000000 -> TDX_SUCCESS
sept $t 0x200000
sept $t 0x400000

# The page has its size's alignment and lies in a TDMR; no part of it may be used for anything.
TDH.MEM.PAGE.AUG rcx=0x600001 rdx=$t r8=0x60001000 -> TDX_OPERAND_INVALID|R8
TDH.MEM.PAGE.AUG rcx=0x600001 rdx=$t r8=0x100000000 -> TDX_OPERAND_ADDR_RANGE_ERROR|R8
TDH.MEM.PAGE.AUG rcx=0x600001 rdx=$t r8=0x40000000 -> TDX_PAGE_METADATA_INCORRECT|R8
TDH.MEM.PAGE.AUG rcx=0x600001 rdx=$t r8=0x50000000 -> TDX_PAGE_METADATA_INCORRECT|R8

# There is a table at 0x400000: 2M can't be mapped. Under the 2M page there is none for 4K.
TDH.MEM.PAGE.AUG rcx=0x400001 rdx=$t r8=0x60000000 -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x407 rdx=0x8401
TDH.MEM.PAGE.AUG rcx=0x201000 rdx=$t r8=0x50001000 -> TDX_EPT_WALK_FAILED|RCX rcx=0x80000000400000f0 rdx=0x201
# 1G is not for AUG.
TDH.MEM.PAGE.AUG rcx=0x40000002 rdx=$t r8=0x80000000 -> TDX_OPERAND_INVALID|RCX
