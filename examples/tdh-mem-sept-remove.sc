# TDH.MEM.SEPT.REMOVE takes an empty table page out of the secure EPT. Like everything that takes a
# translation away, it wants BLOCK, TRACK, and every vCPU out once.
host memory=4G dpamt=off lps=1
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x200001 rdx=$t r8=$p2 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200000 rdx=$t r8=$p3 -> TDX_SUCCESS

TDH.MEM.SEPT.REMOVE rcx=0x200001 rdx=$t -> TDX_GPA_RANGE_NOT_BLOCKED|RCX rcx=0x407 rdx=0x8401
TDH.MEM.RANGE.BLOCK rcx=0x200000 rdx=$t -> TDX_SUCCESS
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.SEPT.REMOVE rcx=0x200001 rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS

# A page is still in it, and under a blocked table it can't be reached.
TDH.MEM.SEPT.REMOVE rcx=0x200001 rdx=$t -> TDX_EPT_PAGE_NOT_FREE|RCX rcx=0 rdx=0x8101
TDH.MEM.PAGE.REMOVE rcx=0x200000 rdx=$t -> TDX_EPT_WALK_FAILED|RCX rcx=0 rdx=0x8101
TDH.MEM.RANGE.UNBLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.REMOVE rcx=0x200000 rdx=$t -> TDX_SUCCESS rcx=$p3
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.SEPT.REMOVE rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=$p2 rdx=0
