# TDH.MEM.PAGE.RELOCATE moves a 4K page to another frame, content and all, after BLOCK and TRACK. RCX is the
# old frame; the page is unblocked afterwards.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=$p2 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x1000 rdx=$t r8=$p3 -> TDX_SUCCESS
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x1000 -> TDX_SUCCESS
t.0: write 0x1000 0x1234 -> OK
exit t.0
TDH.MEM.PAGE.RELOCATE rcx=0x1000 rdx=$t r8=$p4 -> TDX_GPA_RANGE_NOT_BLOCKED|RCX
TDH.MEM.RANGE.BLOCK rcx=0x1000 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.RELOCATE rcx=0x1000 rdx=$t r8=$p3 -> TDX_OPERAND_INVALID|R8
TDH.MEM.PAGE.RELOCATE rcx=0x1000 rdx=$t r8=$p4 -> TDX_SUCCESS rcx=$p3 rdx=0
TDH.MEM.SEPT.RD rcx=0x1000 rdx=$t -> TDX_SUCCESS rcx=0x80000000080044f7 rdx=0x400
enter t.0
t.0: read 0x1000 -> 0x1234
exit t.0
