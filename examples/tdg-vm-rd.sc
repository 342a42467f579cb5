# TDG.VM.RD reads a field of the guest's own TD. R8 is the value.
host memory=4G dpamt=off lps=1
td t vcpus=1
enter t.0
# ATTRIBUTES and TD_CTLS; both say that pending pages give no #VE.
t.0: TDG.VM.RD rdx=0x1100000000000000 -> TDX_SUCCESS r8=0x10000000
t.0: TDG.VM.RD rdx=0x1100000000000017 -> TDX_SUCCESS r8=1
t.0: TDG.VM.RD rdx=0x123456 -> TDX_METADATA_FIELD_ID_INCORRECT r8=0
t.0: TDG.VM.RD rcx=1 rdx=0x1100000000000000 -> TDX_OPERAND_INVALID|RCX
exit t.0
