# TDH.MEM.TRACK begins a new epoch. A range that was blocked in an older epoch may change as soon as no
# vCPU is inside that entered in it.
host memory=4G dpamt=off lps=3
td t vcpus=2
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
lp 2
enter t.0
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS

# t.0 entered before: its TLB may hold the old translation.
TDH.MEM.PAGE.REMOVE rcx=0x200001 rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX
# t.1 enters in the new epoch: it doesn't matter.
enter t.1
TDH.MEM.PAGE.REMOVE rcx=0x200001 rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX
# Only two epochs are counted: no third while somebody is left in the first.
TDH.MEM.TRACK rcx=$t -> TDX_PREVIOUS_TLB_EPOCH_BUSY
exit t.0
TDH.MEM.PAGE.REMOVE rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x40000000
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
exit t.1
