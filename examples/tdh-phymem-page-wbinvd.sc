# TDH.PHYMEM.PAGE.WBINVD flushes the lines of a freed page that were written under a key id: RCX is the
# page with the key id in bits 51:46. It is done after REMOVE, before the page is used for something else.
host memory=4G dpamt=off lps=1
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
# A page in use isn't flushed.
TDH.PHYMEM.PAGE.WBINVD rcx=$p0+0x8400000000000 -> TDX_PAGE_METADATA_INCORRECT|RCX
TDH.PHYMEM.PAGE.WBINVD rcx=$p1+0x8400000000000 -> TDX_SUCCESS
TDH.PHYMEM.PAGE.WBINVD rcx=$p1+8 -> TDX_OPERAND_INVALID|RCX
TDH.PHYMEM.PAGE.WBINVD rcx=0x100000000 -> TDX_OPERAND_ADDR_RANGE_ERROR|RCX
