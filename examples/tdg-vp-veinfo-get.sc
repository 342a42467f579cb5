# TDG.VP.VEINFO.GET tells a guest why it got a #VE. With SEPT_VE_DISABLE 0, touching a page that isn't
# accepted is such a reason; with 1 the host gets an exit instead.
host memory=4G dpamt=off lps=2
td t vcpus=1 sept_ve_disable=0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.VP.VEINFO.GET -> TDX_NO_VALID_VE_INFO
t.0: read 0x201000 -> VE
# Version 1: the category in RCX, bits 39:32; 1 is a page that waits to be accepted.
t.0: TDG.VP.VEINFO.GET version=1 -> TDX_SUCCESS rcx=0x100000030 r9=0x201000
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: read 0x201000 -> 0
exit t.0

lp 1
td u vcpus=1
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$u r8=$p2 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$u r8=$p3 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$u r8=0x40200000 -> TDX_SUCCESS
enter u.0
u.0: read 0x201000 -> EXIT rax=0x30 rdx=6 r8=0x201000
