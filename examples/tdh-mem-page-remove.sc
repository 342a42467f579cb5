# TDH.MEM.PAGE.REMOVE takes a page out of the TD, after BLOCK and TRACK. RCX is its address. The content
# is lost: what comes back to that place is a new page.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
lp 1
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: write 0x200000 0x1234 -> OK
TDH.MEM.PAGE.REMOVE rcx=0x200001 rdx=$t -> TDX_GPA_RANGE_NOT_BLOCKED|RCX rcx=0x80000000400004f7 rdx=0x401
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.REMOVE rcx=0x200001 rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX rcx=0 rdx=0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
exit t.0
# A huge page goes as a whole.
TDH.MEM.PAGE.REMOVE rcx=0x200000 rdx=$t -> TDX_EPT_WALK_FAILED|RCX rcx=0x80000000400000f0 rdx=0x101
TDH.MEM.PAGE.REMOVE rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x40000000 rdx=0
TDH.PHYMEM.PAGE.RDMD rcx=0x40000000 -> TDX_SUCCESS rcx=0

TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: read 0x200000 -> 0
exit t.0
