# TDH.MEM.SEPT.RD reads an entry of the secure EPT: RCX as the hardware would have it, with what the host
# mustn't know left out; RDX the level (bits 2:0) and the state (bits 15:8).
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.RD rcx=0x3 rdx=$t -> TDX_SUCCESS rcx=0x8000000000000000 rdx=0x3
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
# A table is NL_MAPPED, 0x84; where it lies isn't shown.
TDH.MEM.SEPT.RD rcx=0x3 rdx=$t -> TDX_SUCCESS rcx=0x407 rdx=0x8403
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
# PENDING, 2: no access.
TDH.MEM.SEPT.RD rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x80000000400000f0 rdx=0x201
enter t.0
lp 1
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
# MAPPED, 4: read, write, execute.
TDH.MEM.SEPT.RD rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x80000000400004f7 rdx=0x401
# Asked for 4K where 2M is mapped: the walk stops at the 2M entry.
TDH.MEM.SEPT.RD rcx=0x205000 rdx=$t -> TDX_EPT_WALK_FAILED|RCX rcx=0x80000000400004f7 rdx=0x401
exit t.0 -> EXIT rax=1
# A shared address isn't in the secure EPT.
TDH.MEM.SEPT.RD rcx=0x800000200001 rdx=$t -> TDX_OPERAND_INVALID|RCX rcx=0 rdx=0
