# TDH.SYS.LP.SHUTDOWN says that the module is to end; it works in every state of the module.
host raw memory=4G dpamt=off lps=2
TDH.SYS.INIT -> TDX_SUCCESS
lp 1
TDH.SYS.LP.SHUTDOWN -> TDX_SUCCESS
