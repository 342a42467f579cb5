# TDH.PHYMEM.PAMT.REMOVE takes the pair of a 2M range back, when no 4K page in it is used: RDX and R8 are
# the two pages. A 2M page can be mapped only where there is no pair.
host memory=4G dpamt=on lps=1
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.PHYMEM.PAMT.REMOVE rcx=0x50000001 -> TDX_NO_PAMT_PAGE_PAIR|RCX
TDH.PHYMEM.PAMT.ADD rcx=0x50000001 rdx=0xa0000000 r8=0xa0001000 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x50000000 -> TDX_PAGE_METADATA_INCORRECT|R8

TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=0x50100000 -> TDX_SUCCESS
# The low half of the status tells which of the two pages describes the page in use.
TDH.PHYMEM.PAMT.REMOVE rcx=0x50000001 -> TDX_PAMT_PAGE_NOT_EMPTY|1
TDH.MEM.RANGE.BLOCK rcx=0x1 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
# Bit 62 of the returned address: that was the last 4K page of its range.
TDH.MEM.SEPT.REMOVE rcx=0x1 rdx=$t -> TDX_SUCCESS rcx=0x4000000050100000
TDH.PHYMEM.PAMT.REMOVE rcx=0x50000001 -> TDX_SUCCESS rdx=0xa0000000 r8=0xa0001000
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x50000000 -> TDX_SUCCESS
