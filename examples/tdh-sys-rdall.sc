# TDH.SYS.RDALL writes every global field as a list of records to the page in RDX. R8 in is the first
# field (all ones: from the start), R8 out the one that didn't fit any more (all ones: none).
host memory=4G dpamt=off lps=1
TDH.SYS.RDALL rdx=$p0 r8=0xffffffffffffffff -> TDX_SUCCESS r8=0xffffffffffffffff
TDH.SYS.RDALL rdx=$p0+8 r8=0xffffffffffffffff -> TDX_OPERAND_INVALID|RDX
