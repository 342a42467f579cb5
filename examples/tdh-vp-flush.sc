# TDH.VP.FLUSH unties a vCPU from the processor that it ran on last, and must be called there.
host memory=4G dpamt=off lps=2
td t vcpus=1
enter t.0
exit t.0 -> EXIT rax=1
lp 1
TDH.VP.FLUSH rcx=$t.0 -> TDX_VCPU_NOT_ASSOCIATED
lp 0
TDH.VP.FLUSH rcx=$t.0 -> TDX_SUCCESS
TDH.VP.FLUSH rcx=$t.0 -> TDX_VCPU_NOT_ASSOCIATED
