# TDH.VP.ENTER is what `enter` calls: it returns when the TD exits. While a vCPU is inside, the TD's
# TDR and its own TDVPR are held shared, and the epoch's reference count is raised.
host memory=4G dpamt=off lps=2
td t vcpus=2
enter t.0 -> OK
lp 1
TDH.VP.FLUSH rcx=$t.0 -> TDX_OPERAND_BUSY|RCX
TDH.MNG.VPFLUSHDONE rcx=$t -> TDX_OPERAND_BUSY|RCX

# A vCPU that is inside can't be entered a second time. One that is outside is tied to the processor
# that it ran on last, until VP.FLUSH there.
TDH.VP.ENTER rcx=$t.0 -> TDX_VCPU_STATE_INCORRECT|4
exit t.0 -> EXIT rax=1
TDH.VP.ENTER rcx=$t.0 -> TDX_VCPU_ASSOCIATED
lp 0
TDH.VP.FLUSH rcx=$t.0 -> TDX_SUCCESS
lp 1
TDH.VP.ENTER rcx=$t.0
exit t.0 -> EXIT rax=1

# Flags: 52 and 53 are known, the rest must be zero.
TDH.VP.ENTER rcx=$t.1+0x100 -> TDX_OPERAND_INVALID|RCX
TDH.VP.ENTER rcx=$t -> TDX_PAGE_METADATA_INCORRECT|RCX
