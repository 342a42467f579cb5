# TDH.SYS.INFO writes TDSYSINFO_STRUCT and the list of memory ranges to two buffers.
# RDX comes back as the bytes written, R9 as the entries.
host memory=4G dpamt=off lps=1
TDH.SYS.INFO rcx=$p0 rdx=1024 r8=$p1 r9=32 -> TDX_SUCCESS rdx=1024
# A buffer too small, or not aligned.
TDH.SYS.INFO rcx=$p0 rdx=8 r8=$p1 r9=32 -> TDX_OPERAND_INVALID|RDX
TDH.SYS.INFO rcx=$p0+8 rdx=1024 r8=$p1 r9=32 -> TDX_OPERAND_INVALID|RCX
