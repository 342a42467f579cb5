# TDH.SYS.CONFIG tells the module which memory it may use: an array of pointers to TDMR_INFO, and the
# key id that it keeps for itself. $tdmrs is an array that the tool has prepared, with one TDMR.
host raw memory=4G dpamt=off lps=1
TDH.SYS.INIT -> TDX_SUCCESS
TDH.SYS.LP.INIT -> TDX_SUCCESS

# The array lies on a 512-byte boundary, has 1 to 64 entries, and the key id is a private one.
TDH.SYS.CONFIG rcx=$tdmrs+8 rdx=1 r8=0x20 -> TDX_OPERAND_INVALID|RCX
TDH.SYS.CONFIG rcx=$tdmrs rdx=0 r8=0x20 -> TDX_OPERAND_INVALID|RDX
TDH.SYS.CONFIG rcx=$tdmrs rdx=65 r8=0x20 -> TDX_OPERAND_INVALID|RDX
TDH.SYS.CONFIG rcx=$tdmrs rdx=1 r8=0 -> TDX_OPERAND_INVALID|R8

TDH.SYS.CONFIG rcx=$tdmrs rdx=1 r8=0x20 -> TDX_SUCCESS
TDH.SYS.CONFIG rcx=$tdmrs rdx=1 r8=0x20 -> TDX_SYS_CONFIG_NOT_PENDING
