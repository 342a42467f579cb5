# TDH.MR.EXTEND adds 256 bytes of a page to the TD's measurement, while it is built.
host memory=4G dpamt=off lps=1
td t state=initialized
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=$p2 -> TDX_SUCCESS
TDH.MEM.PAGE.ADD rcx=0x1000 rdx=$t r8=$p3 r9=$p100 -> TDX_SUCCESS
TDH.MR.EXTEND rcx=0x1000 rdx=$t -> TDX_SUCCESS
TDH.MR.EXTEND rcx=0x1100 rdx=$t -> TDX_SUCCESS
TDH.MR.EXTEND rcx=0x1080 rdx=$t -> TDX_OPERAND_INVALID|RCX
# No page there.
TDH.MR.EXTEND rcx=0x2000 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT
