# A host that leaves TRACK out. BLOCK keeps new translations from being made, but t.0 is inside and may
# hold the old one: DEMOTE answers TDX_TLB_TRACKING_NOT_DONE. A report from the field shows this status
# after a BLOCK that had answered BUSY, see field-block-busy-ignored.sc.
host memory=4G dpamt=off lps=2 profile=1.5.25
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
lp 1
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_TLB_TRACKING_NOT_DONE|RCX rcx=0 rdx=0
# TRACK alone isn't enough either, as long as t.0 doesn't exit.
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_TLB_TRACKING_NOT_DONE|RCX
exit t.0
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_SUCCESS
