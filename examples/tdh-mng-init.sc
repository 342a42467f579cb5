# TDH.MNG.INIT reads TD_PARAMS (1024 bytes, $t.params here) and makes the TD INITIALIZED: pages can be
# added and measured now.
host memory=4G dpamt=off lps=1
td t state=allocated gpaw=48
TDH.MEM.SEPT.RD rcx=0x3 rdx=$t -> TDX_OP_STATE_INCORRECT
TDH.MNG.INIT rcx=$t rdx=$t.params+8 -> TDX_OPERAND_INVALID|RDX

# The S-EPT has 4 or 5 levels: EPTP_CONTROLS, bits 5:3, is 3 or 4.
poke $t.params+0x18 0x16
TDH.MNG.INIT rcx=$t rdx=$t.params -> TDX_OPERAND_INVALID|EPTP_CONTROLS
poke $t.params+0x18 0x1e

TDH.MNG.INIT rcx=$t rdx=$t.params -> TDX_SUCCESS
TDH.MNG.INIT rcx=$t rdx=$t.params -> TDX_OP_STATE_INCORRECT|1
TDH.MEM.SEPT.RD rcx=0x3 rdx=$t -> TDX_SUCCESS rcx=0x8000000000000000 rdx=0x3
