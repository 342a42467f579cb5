# TDH.MEM.RANGE.UNBLOCK takes a BLOCK back. It wants TRACK, too: a translation made before the BLOCK
# mustn't live on unnoticed.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: write 0x200000 0x1234 -> OK
exit t.0
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.RANGE.UNBLOCK rcx=0x200001 rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX rcx=0 rdx=0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.RANGE.UNBLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.RANGE.UNBLOCK rcx=0x200001 rdx=$t -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rdx=0x401
# The page is what it was, with what it held.
enter t.0
t.0: read 0x200000 -> 0x1234
exit t.0
