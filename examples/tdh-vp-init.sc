# TDH.VP.INIT makes a vCPU READY and ties it to the calling processor. RDX is the RCX that its guest
# starts with; version 1 takes the x2APIC id in R8.
host memory=4G dpamt=off lps=2
td t state=initialized vcpus=2
TDH.VP.CREATE rcx=$t.0 rdx=$t -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x1000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x2000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x3000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x4000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x5000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.INIT version=1 rcx=$t.0 rdx=0 r8=7 -> TDX_SUCCESS
TDH.VP.INIT version=1 rcx=$t.0 rdx=0 r8=7 -> TDX_VCPU_STATE_INCORRECT|2

TDH.VP.CREATE rcx=$t.1 rdx=$t -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.1+0x1000 rdx=$t.1 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.1+0x2000 rdx=$t.1 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.1+0x3000 rdx=$t.1 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.1+0x4000 rdx=$t.1 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.1+0x5000 rdx=$t.1 -> TDX_SUCCESS
TDH.VP.INIT version=1 rcx=$t.1 rdx=0 r8=7 -> TDX_X2APIC_ID_NOT_UNIQUE
TDH.VP.INIT version=1 rcx=$t.1 rdx=0 r8=8 -> TDX_SUCCESS
