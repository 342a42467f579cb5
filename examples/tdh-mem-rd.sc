# TDH.MEM.RD reads 8 bytes of a TD's memory, of a debug TD's only. R8 is the value.
host memory=4G dpamt=off lps=2
td t debug=on
td u
TDH.MEM.RD rcx=0x1000 rdx=$u -> TDX_TD_NON_DEBUG r8=0
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=$p2 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x1000 rdx=$t r8=$p3 -> TDX_SUCCESS
# Not accepted: not present.
TDH.MEM.RD rcx=0x1000 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x80000000080030f0 rdx=0x200 r8=0
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x1000 -> TDX_SUCCESS
t.0: write 0x1008 0x1234 -> OK
exit t.0
TDH.MEM.RD rcx=0x1008 rdx=$t -> TDX_SUCCESS r8=0x1234
TDH.MEM.RD rcx=0x1004 rdx=$t -> TDX_OPERAND_INVALID|RCX r8=0
