# MEM.RD and MEM.WR of a debug TD, every check in order; SEPT.RD's flag
host memory=4G dpamt=off lps=4
td t gpaw=48 vcpus=2 debug=on
td u gpaw=48 vcpus=2
lp 2
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=0x80000000 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=0x80001000 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=0x80002000 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x1000 rdx=$t r8=0x50001000 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x2000 rdx=$t r8=0x50002000 -> TDX_SUCCESS
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x60000000 -> TDX_SUCCESS
# --- TDR, then TD's kind, then the GPA
TDH.MEM.RD rcx=0x3 rdx=$t+0x1 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.RD rcx=0x3 rdx=0x100000000 -> TDX_OPERAND_ADDR_RANGE_ERROR|RDX rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.RD rcx=0x3 rdx=0x50001000 -> TDX_PAGE_METADATA_INCORRECT|RDX rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.RD rcx=0x3 rdx=$u -> TDX_TD_NON_DEBUG rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.WR rcx=0x3 rdx=$u r8=0x5 -> TDX_TD_NON_DEBUG rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.RD rcx=0x1004 rdx=$t -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.RD rcx=0x1001 rdx=$t -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.WR rcx=0x800000001000 rdx=$t r8=0x5 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.WR rcx=0x10000000001000 rdx=$t r8=0x5 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.WR rcx=0x8000000000001000 rdx=$t r8=0x5 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0 r8=0x0
# --- where the walk ends
TDH.MEM.RD rcx=0x8000000000 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x8000000000000000 rdx=0x3 r8=0x0
TDH.MEM.RD rcx=0x40000000 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x8000000000000000 rdx=0x2 r8=0x0
TDH.MEM.RD rcx=0x400008 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x8000000000000000 rdx=0x1 r8=0x0
TDH.MEM.RD rcx=0x3000 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x8000000000000000 rdx=0x0 r8=0x0
TDH.MEM.RD rcx=0x1000 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x80000000500010f0 rdx=0x200 r8=0x0
TDH.MEM.WR rcx=0x200008 rdx=$t r8=0x5 -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x80000000600000f0 rdx=0x201 r8=0x0
lp 0
enter t.0
lp 2
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x1000 -> TDX_SUCCESS
t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
# --- both give the old value; with a vCPU inside as well as outside
TDH.MEM.RD rcx=0x1008 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.WR rcx=0x1008 rdx=$t r8=0x1122334455667788 -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x0
exit t.0
TDH.MEM.RD rcx=0x1008 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x1122334455667788
TDH.MEM.WR rcx=0x1008 rdx=$t r8=0x99 -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x1122334455667788
TDH.MEM.WR rcx=0x3ffff8 rdx=$t r8=0x77 -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x0
TDH.MEM.RD rcx=0x3ffff8 rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x77
# --- blocked: not present; un-blocked, split, merged and moved: the content stays
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.RD rcx=0x3ffff8 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x80000000600000f0 rdx=0x101 r8=0x0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.DEMOTE rcx=0x200001 rdx=$t r8=0x80003000 -> TDX_SUCCESS
TDH.MEM.RD rcx=0x3ffff8 rdx=$t -> TDX_SUCCESS r8=0x77
TDH.MEM.RANGE.BLOCK rcx=0x3ff000 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.RELOCATE rcx=0x3ff000 rdx=$t r8=0x50007000 -> TDX_SUCCESS rcx=0x601ff000 rdx=0x0
TDH.MEM.RD rcx=0x3ffff8 rdx=$t -> TDX_SUCCESS r8=0x77
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.RD rcx=0x3ffff8 rdx=$t -> TDX_EPT_ENTRY_NOT_PRESENT|RCX rcx=0x0 rdx=0x8101 r8=0x0
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
# the page that moved away isn't in its place
TDH.MEM.PAGE.PROMOTE rcx=0x200001 rdx=$t -> TDX_EPT_INVALID_PROMOTE_CONDITIONS|RCX rcx=0x0 rdx=0x8101
TDH.MEM.RANGE.UNBLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.RANGE.BLOCK rcx=0x3ff000 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.RELOCATE rcx=0x3ff000 rdx=$t r8=0x601ff000 -> TDX_SUCCESS rcx=0x50007000 rdx=0x0
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.PROMOTE rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x80003000 rdx=0x0
TDH.MEM.RD rcx=0x3ffff8 rdx=$t -> TDX_SUCCESS r8=0x77
# --- accepted anew after REMOVE and AUG of the very page: zero
TDH.MEM.RANGE.BLOCK rcx=0x200001 rdx=$t -> TDX_SUCCESS
TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS
TDH.MEM.PAGE.REMOVE rcx=0x200001 rdx=$t -> TDX_SUCCESS rcx=0x60000000
TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x60000000 -> TDX_SUCCESS
lp 1
enter t.1
lp 2
t.1: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_SUCCESS
exit t.1
TDH.MEM.RD rcx=0x3ffff8 rdx=$t -> TDX_SUCCESS r8=0x0
# --- SEPT.RD's flag is a debug TD's; the flag after TDR and TD, before the GPA
TDH.MEM.SEPT.RD rcx=0xf rdx=$u+0x1 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.RD rcx=0xf rdx=$t+0x1 -> TDX_OPERAND_INVALID|RCX rcx=0x0 rdx=0x0
TDH.MEM.SEPT.RD rcx=0x1000 rdx=$t+0x1 -> TDX_SUCCESS rcx=0x80000000500014f7 rdx=0x400 r8=0x0
TDH.MEM.SEPT.RD rcx=0x1000 rdx=$t+0x2 -> TDX_OPERAND_INVALID|RDX rcx=0x0 rdx=0x0
