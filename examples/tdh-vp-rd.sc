# TDH.VP.RD reads a field of a vCPU, from the processor that the vCPU is tied to. R8 is the value.
host memory=4G dpamt=off lps=2
td t vcpus=2
lp 1
# VCPU_INDEX.
TDH.VP.RD rcx=$t.1 rdx=0xa000000000000002 -> TDX_SUCCESS r8=1
TDH.VP.RD rcx=$t.0 rdx=0xa000000000000002 -> TDX_VCPU_ASSOCIATED
TDH.VP.RD rcx=$t.1 rdx=0x123456 -> TDX_METADATA_FIELD_ID_INCORRECT
