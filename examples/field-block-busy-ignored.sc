# A bug from the field. BLOCK answers BUSY, since another processor is in the middle of a leaf on the same
# TD (`hold` stands for it); the host ignores that and goes on: TRACK, DEMOTE. The page was never blocked,
# and module 1.5.25 says so: TDX_GPA_RANGE_NOT_BLOCKED. (The report from the field shows
# TDX_TLB_TRACKING_NOT_DONE, of an older module; see field-block-without-track.sc.)
host memory=4G dpamt=off lps=2 profile=1.5.25
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
exit t.0

hold $t
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_OPERAND_BUSY|RDX
release $t
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_GPA_RANGE_NOT_BLOCKED|RCX rcx=0x80000000400004f7 rdx=0x401

# What the host should have done: call again until it isn't BUSY.
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_SUCCESS
