# TDG.VP.VMCALL is the guest calling its host. RCX names the registers that both share; the host finds them
# when VP.ENTER returns with exit reason 77, and answers in them at the next VP.ENTER.
host memory=4G dpamt=off lps=1
td t
enter t.0
# R10 to R15: MapGPA (0x10001) of 2 MB, made shared by bit 47.
t.0: TDG.VP.VMCALL rcx=0xfc00 r10=0 r11=0x10001 r12=0x800000200000 r13=0x200000 r14=0 r15=0 -> EXIT rax=0x4d rcx=0xfc00 r11=0x10001 r12=0x800000200000 r13=0x200000
enter t.0 r10=0 r11=0
# A mask beyond the registers there are.
t.0: TDG.VP.VMCALL rcx=0x100000000 -> TDX_OPERAND_INVALID|RCX
exit t.0
