# TDH.PHYMEM.PAMT.ADD gives a 2M range the pair of pages that describe its 4K pages. With Dynamic PAMT
# only ranges that are used by the 4K page have one.
host memory=4G dpamt=on lps=1
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x50000000 -> TDX_MISSING_PAMT_PAGE_PAIR|R8
TDH.PHYMEM.PAMT.ADD rcx=0x50000001 rdx=0xa0000000 r8=0xa0000000 -> TDX_PAGE_NOT_FREE|R8
TDH.PHYMEM.PAMT.ADD rcx=0x50000000 rdx=0xa0000000 r8=0xa0001000 -> TDX_OPERAND_INVALID|RCX
TDH.PHYMEM.PAMT.ADD rcx=0x50000001 rdx=0xa0000000 r8=0xa0001000 -> TDX_SUCCESS
TDH.PHYMEM.PAMT.ADD rcx=0x50000001 rdx=0xa0002000 r8=0xa0003000 -> TDX_HPA_RANGE_NOT_FREE|RCX
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x50000000 -> TDX_SUCCESS

# The pair is taken: nothing else may use those pages.
TDH.PHYMEM.PAMT.ADD rcx=0x50200001 rdx=0xa0000000 r8=0xa0002000 -> TDX_PAGE_NOT_FREE|RDX
