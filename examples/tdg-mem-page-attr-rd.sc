# TDG.MEM.PAGE.ATTR.RD tells how a page is mapped: RCX its level, address, and bit 62 while it waits to be
# accepted; RDX attributes for nested guests.
host memory=4G dpamt=off lps=1
td t vcpus=1
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.MEM.PAGE.ATTR.RD rcx=0x205000 -> TDX_SUCCESS rcx=0x4000000000200001
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: TDG.MEM.PAGE.ATTR.RD rcx=0x205000 -> TDX_SUCCESS rcx=0x200001
t.0: TDG.MEM.PAGE.ATTR.RD rcx=0x400000 -> EXIT rax=0x30 r8=0x400000
