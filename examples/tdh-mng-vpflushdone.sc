# TDH.MNG.VPFLUSHDONE begins the end of a TD: no vCPU may be tied to a processor any more. After it the
# TD is BLOCKED, and only the leaves of the teardown work.
host memory=4G dpamt=off lps=1
td t vcpus=1
TDH.MNG.VPFLUSHDONE rcx=$t -> TDX_FLUSHVP_NOT_DONE
TDH.VP.FLUSH rcx=$t.0 -> TDX_SUCCESS
TDH.MNG.VPFLUSHDONE rcx=$t -> TDX_SUCCESS
TDH.MNG.VPFLUSHDONE rcx=$t -> TDX_LIFECYCLE_STATE_INCORRECT
TDH.MEM.TRACK rcx=$t -> TDX_TD_KEYS_NOT_CONFIGURED
