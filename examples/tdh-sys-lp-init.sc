# TDH.SYS.LP.INIT runs once on every logical processor, between SYS.INIT and SYS.CONFIG.
host raw memory=4G dpamt=off lps=2
TDH.SYS.INIT -> TDX_SUCCESS
lp 0
TDH.SYS.LP.INIT -> TDX_SUCCESS
TDH.SYS.LP.INIT -> TDX_SYS_LP_INIT_DONE
lp 1
TDH.SYS.LP.INIT -> TDX_SUCCESS
