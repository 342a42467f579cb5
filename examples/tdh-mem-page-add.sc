# TDH.MEM.PAGE.ADD copies a page of the host into the TD while it is built, and measures its address. R8
# is the TD's page, R9 the source.
host memory=4G dpamt=off lps=1
td t state=initialized
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=$p2 -> TDX_SUCCESS
poke $p100 0x1234
TDH.MEM.PAGE.ADD rcx=0x1000 rdx=$t r8=$p3 r9=$p100 -> TDX_SUCCESS rcx=0 rdx=0
# Mapped at once: the guest has nothing to accept.
TDH.MEM.SEPT.RD rcx=0x1000 rdx=$t -> TDX_SUCCESS rcx=0x80000000080034f7 rdx=0x400
# What the host reads there now is not what the page holds.
peek $p3 -> 0xffffffffffffffff

TDH.MEM.PAGE.ADD rcx=0x1000 rdx=$t r8=$p4 r9=$p100 -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX
TDH.MEM.PAGE.ADD rcx=0x200000 rdx=$t r8=$p4 r9=$p100 -> TDX_EPT_WALK_FAILED|RCX
TDH.MEM.PAGE.ADD rcx=0x2001 rdx=$t r8=$p4 r9=$p100 -> TDX_OPERAND_INVALID|RCX
# The source mustn't be private: this one names key id 0x21.
TDH.MEM.PAGE.ADD rcx=0x2000 rdx=$t r8=$p4 r9=$p100+0x8400000000000 -> TDX_OPERAND_INVALID|R9
