# TDH.SYS.KEY.CONFIG generates the module's own key, on one processor of each package. After the last
# package the module is ready.
host raw memory=4G dpamt=off lps=1
TDH.SYS.INIT -> TDX_SUCCESS
TDH.SYS.LP.INIT -> TDX_SUCCESS
TDH.SYS.KEY.CONFIG -> TDX_SYS_KEY_CONFIG_NOT_PENDING
TDH.SYS.CONFIG rcx=$tdmrs rdx=1 r8=0x20 -> TDX_SUCCESS

# Leaves that touch memory answer NOT_READY until then.
TDH.SYS.TDMR.INIT rcx=0 -> TDX_SYS_NOT_READY
TDH.SYS.KEY.CONFIG -> TDX_SUCCESS
TDH.SYS.TDMR.INIT rcx=0 -> TDX_SUCCESS
