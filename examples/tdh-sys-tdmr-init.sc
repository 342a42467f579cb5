# TDH.SYS.TDMR.INIT initialises the PAMT of a TDMR, 4 MB of memory a call (16 MB with Dynamic PAMT).
# RDX tells how far whole gibibytes are done: only those may be used.
host raw memory=4G dpamt=off lps=1
TDH.SYS.INIT -> TDX_SUCCESS
TDH.SYS.LP.INIT -> TDX_SUCCESS
TDH.SYS.CONFIG rcx=$tdmrs rdx=1 r8=0x20 -> TDX_SUCCESS
TDH.SYS.KEY.CONFIG -> TDX_SUCCESS

TDH.SYS.TDMR.INIT rcx=0x1000 -> TDX_OPERAND_INVALID|RCX
TDH.SYS.TDMR.INIT rcx=0 -> TDX_SUCCESS rdx=0
TDH.SYS.TDMR.INIT rcx=0 -> TDX_SUCCESS rdx=0

# 4 MB of 1 GB: no page is there yet.
TDH.PHYMEM.PAGE.RDMD rcx=0x1000 -> TDX_OPERAND_ADDR_RANGE_ERROR|RCX
