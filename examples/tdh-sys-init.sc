# TDH.SYS.INIT is the first call after the module is loaded, once for the whole machine.
# "host raw" leaves all of the module's initialisation to the script.
host raw memory=4G dpamt=off lps=2

# Nothing else works before it ...
TDH.SYS.LP.INIT -> TDX_SYS_LP_INIT_NOT_PENDING
TDH.SYS.INIT -> TDX_SUCCESS
# ... and it works once.
TDH.SYS.INIT -> TDX_SYS_INIT_NOT_PENDING
