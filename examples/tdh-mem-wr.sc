# TDH.MEM.WR writes 8 bytes of a debug TD's memory: R8 in the new value, out the old one.
host memory=4G dpamt=off lps=2
td t debug=on
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=$p2 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x1000 rdx=$t r8=$p3 -> TDX_SUCCESS
enter t.0
lp 1
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x1000 -> TDX_SUCCESS
t.0: write 0x1008 0x1234 -> OK
TDH.MEM.WR rcx=0x1008 rdx=$t r8=0x5678 -> TDX_SUCCESS r8=0x1234
t.0: read 0x1008 -> 0x5678
exit t.0
