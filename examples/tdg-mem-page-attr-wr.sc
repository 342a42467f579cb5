# TDG.MEM.PAGE.ATTR.WR sets attributes of a page for nested guests; this TD has none.
host memory=4G dpamt=off lps=1
td t vcpus=1
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: TDG.MEM.PAGE.ATTR.WR rcx=0x200001 rdx=0 r8=0 -> TDX_SUCCESS rcx=0x200001 rdx=0
exit t.0
