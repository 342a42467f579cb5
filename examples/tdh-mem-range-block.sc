# TDH.MEM.RANGE.BLOCK is the first step of every change: no new translation of the range is made, and the
# epoch is noted in the metadata of what is mapped there.
host memory=4G dpamt=off lps=2
td t
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x400001 rdx=$t r8=0x40200000 -> TDX_SUCCESS
enter t.0
lp 1
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
t.0: write 0x200000 0x1234 -> OK
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
# BLOCKED is public state 1; a page that waits to be accepted becomes PENDING_BLOCKED, 3.
TDH.MEM.SEPT.RD rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x80000000400000f0 rdx=0x101
TDH.MEM.RANGE.BLOCK rcx=0x400001 rdx=$t -> TDX_SUCCESS
TDH.MEM.SEPT.RD rcx=0x400001 rdx=$t -> TDX_SUCCESS rdx=0x301
TDH.PHYMEM.PAGE.RDMD rcx=0x40000000 -> TDX_SUCCESS r9=1

# BLOCK doesn't reach into TLBs: this vCPU goes on until it has been out and in again, in a new epoch.
t.0: read 0x200000 -> 0x1234
exit t.0 -> EXIT rax=1
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
enter t.0
t.0: read 0x200000 -> EXIT rax=0x30 r8=0x200000

# Twice is no error: bit 63 of the status is clear.
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_GPA_RANGE_ALREADY_BLOCKED|RCX rcx=0x80000000400000f0 rdx=0x101
# Nothing there.
TDH.MEM.RANGE.BLOCK rcx=0x600001 rdx=$t -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX
