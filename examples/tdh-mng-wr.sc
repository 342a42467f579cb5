# TDH.MNG.WR writes a field of a TD where the host may: R8 is the value, R9 the bits to write.
host memory=4G dpamt=off lps=1
td t vcpus=1
TDH.MNG.WR rcx=$t rdx=0x123456 r8=1 r9=1 -> TDX_METADATA_FIELD_ID_INCORRECT
# ATTRIBUTES are measured: the host can read them, not write them.
TDH.MNG.WR rcx=$t rdx=0x1100000000000000 r8=1 r9=1 -> 0xc0000c0100000000
