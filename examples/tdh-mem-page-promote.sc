# TDH.MEM.PAGE.PROMOTE merges 512 pages into one of the next size: they lie side by side, aligned, and are
# all mapped or all pending. The table is what is blocked. RCX is the page of the table.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_SUCCESS

# The guest accepts one of the 512: not all the same any more.
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200000 -> TDX_SUCCESS
exit t.0
TDH.MEM.PAGE.PROMOTE rcx=0x200001 rdx=$t -> TDX_GPA_RANGE_NOT_BLOCKED|RCX rcx=0x407 rdx=0x8401
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.PROMOTE rcx=0x200001 rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.PROMOTE rcx=0x200001 rdx=$t -> TDX_EPT_INVALID_PROMOTE_CONDITIONS|RCX rcx=0 rdx=0x8101

# That one goes and comes back as a pending page.
TDH.MEM.RANGE.UNBLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.RANGE.BLOCK rcx=0x200000 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.REMOVE rcx=0x200000 rdx=$t -> TDX_SUCCESS rcx=0x40000000
TDH.MEM.PAGE.AUG rcx=0x200000 rdx=$t r8=0x40000000 -> TDX_SUCCESS
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.PROMOTE rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=$p2 rdx=0
# Not blocked: PROMOTE ends that.
TDH.MEM.SEPT.RD rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x80000000400000f0 rdx=0x201
