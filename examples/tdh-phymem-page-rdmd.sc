# TDH.PHYMEM.PAGE.RDMD reads a page's metadata: RCX type, RDX owner, R8 size, R9 the epoch of its last
# BLOCK. The directive `pamt` prints the same.
host memory=4G dpamt=off lps=1
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
TDH.PHYMEM.PAGE.RDMD rcx=$t -> TDX_SUCCESS rcx=4 rdx=0 r8=0 r9=0
TDH.PHYMEM.PAGE.RDMD rcx=$p0 -> TDX_SUCCESS rcx=8 rdx=$t r8=0 r9=0
# Any page inside the 2M page tells of the whole.
TDH.PHYMEM.PAGE.RDMD rcx=0x40005000 -> TDX_SUCCESS rcx=3 rdx=$t r8=1 r9=0
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.PHYMEM.PAGE.RDMD rcx=0x40000000 -> TDX_SUCCESS rcx=3 rdx=$t r8=1 r9=1
pamt 0x40000000
TDH.PHYMEM.PAGE.RDMD rcx=0x100000000 -> TDX_OPERAND_ADDR_RANGE_ERROR|RCX
