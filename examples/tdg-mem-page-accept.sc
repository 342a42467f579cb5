# TDG.MEM.PAGE.ACCEPT is the guest taking a page that the host has mapped: it is zeroed, then usable. The
# size must be the size of the mapping.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x400001 rdx=$t r8=$p2 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x400000 rdx=$t r8=$p3 -> TDX_SUCCESS
lp 1

# The host mapped more than the guest asks for: exit to the host, which has to split. RDX tells: type 1
# (ACCEPT), requested level 0, found level 1, state 2 (PENDING), a leaf.
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200000 -> EXIT rax=0x30 rcx=0x2 rdx=0x408800000001 r8=0x200000
# The host mapped less: the guest is told, and falls back to 4K.
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x400001 -> TDX_PAGE_SIZE_MISMATCH|1
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x400000 -> TDX_SUCCESS
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x400000 -> TDX_PAGE_ALREADY_ACCEPTED|0
# Nothing mapped: exit, and the host may map it.
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x600001 -> EXIT rax=0x30 rdx=0x900000001 r8=0x600000

# 2M are zeroed 4K at a time; an interrupt stops it, and what is done is noted in the entry, bits 20:12,
# until the guest goes on.
enter t.0
interrupt 0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> EXIT rax=1
TDH.MEM.SEPT.RD rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x80000000400010f0 rdx=0x201
enter t.0
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x205000 -> TDX_PAGE_ALREADY_ACCEPTED|1
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200002 -> TDX_OPERAND_INVALID|RCX
exit t.0
