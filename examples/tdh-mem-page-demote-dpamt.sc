# TDH.MEM.PAGE.DEMOTE with Dynamic PAMT: 4K pages need metadata that the 2M page had no use for. R12 and
# R13 are the pair of pages for it; PROMOTE gives them back.
host memory=4G dpamt=on lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS

# The new table's page needs its pair, too.
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=0x50000000 r12=0xa0000000 r13=0xa0001000 -> TDX_MISSING_PAMT_PAGE_PAIR|R8
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 r12=0xa0000000 r13=0xa0000800 -> TDX_OPERAND_INVALID|R13
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 r12=0xa0000000 r13=0xa0000000 -> TDX_PAGE_NOT_FREE|R13
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 r12=0xa0000000 r13=0xa0001000 -> TDX_SUCCESS
# A PENDING page becomes 512 PENDING pages.
TDH.MEM.SEPT.RD rcx=0x3ff000 rdx=$t -> TDX_SUCCESS rcx=0x80000000401ff0f0 rdx=0x200

TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.PROMOTE rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=$p2/0xfffffffff000 rdx=0 r12=0xa0000000 r13=0xa0001000
