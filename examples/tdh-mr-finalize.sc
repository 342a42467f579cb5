# TDH.MR.FINALIZE closes the measurement: the TD becomes RUNNABLE, and PAGE.ADD is over.
host memory=4G dpamt=off lps=1
td t state=initialized vcpus=1
TDH.MR.FINALIZE rcx=$t -> TDX_NO_VCPUS
TDH.VP.CREATE rcx=$t.0 rdx=$t -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x1000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x2000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x3000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x4000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x5000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.INIT rcx=$t.0 -> TDX_SUCCESS
enter t.0 -> TDX_OP_STATE_INCORRECT|1
TDH.MR.FINALIZE rcx=$t -> TDX_SUCCESS
TDH.MR.FINALIZE rcx=$t -> TDX_OP_STATE_INCORRECT|2
enter t.0 -> OK
exit t.0 -> EXIT rax=1
