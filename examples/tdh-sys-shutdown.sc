# TDH.SYS.SHUTDOWN ends the module: whatever is called after it answers TDX_SYS_SHUTDOWN.
host memory=4G dpamt=off lps=1
td t
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.SYS.SHUTDOWN -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SYS_SHUTDOWN
