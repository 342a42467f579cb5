# TDH.MEM.PAGE.DEMOTE splits a 2M page into 512 pages of 4K (or 1G into 512 of 2M), after BLOCK and TRACK.
# R8 is the page for the new table. Contents stay, and nothing needs to be accepted again.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: write 0x205000 0x1234 -> OK
exit t.0
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_GPA_RANGE_NOT_BLOCKED|RCX rcx=0x80000000400004f7 rdx=0x401
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_TLB_TRACKING_NOT_DONE|RCX rcx=0 rdx=0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS

# Before 1.5.28 a pending interrupt sends the host away; RCX and RDX are the inputs again, to start over.
interrupt 0
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_INTERRUPTED_RESTARTABLE rcx=0x200001 rdx=$t
clear 0

TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p2 -> TDX_SUCCESS rcx=0 rdx=0
sept $t 0x205000
TDH.MEM.SEPT.RD rcx=0x205000 rdx=$t -> TDX_SUCCESS rcx=0x80000000400054f7 rdx=0x400
TDH.PHYMEM.PAGE.RDMD rcx=0x40005000 -> TDX_SUCCESS rcx=3 rdx=$t r8=0 r9=0
enter t.0
t.0: read 0x205000 -> 0x1234
exit t.0
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=$p3 -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x407 rdx=0x8401
