# TDG.VM.WR writes a field of the guest's own TD: R8 value, R9 the bits to write; R8 out is the old value.
# Here the guest turns #VE on pending pages on and off, which its TD must have been built for.
host memory=4G dpamt=off lps=2
td t vcpus=1 flexible_pending_ve=1
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000 -> TDX_SUCCESS
enter t.0
t.0: TDG.VM.WR rdx=0x1100000000000017 r8=0 r9=1 -> TDX_SUCCESS r8=1
t.0: read 0x201000 -> VE
t.0: TDG.VM.WR rdx=0x1100000000000017 r8=1 r9=1 -> TDX_SUCCESS r8=0
t.0: read 0x201000 -> EXIT rax=0x30 rdx=6

lp 1
td u vcpus=1
enter u.0
u.0: TDG.VM.WR rdx=0x1100000000000017 r8=0 r9=1 -> TDX_METADATA_FIELD_VALUE_NOT_VALID
exit u.0
