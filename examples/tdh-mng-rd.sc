# TDH.MNG.RD reads a field of a TD by its id in RDX; R8 is the value.
host memory=4G dpamt=off lps=1
td t vcpus=1
# NUM_VCPUS, ATTRIBUTES, and the pages that the TD has beside its TDR: six TDCX, six of the vCPU.
TDH.MNG.RD rcx=$t rdx=0x9000000000000001 -> TDX_SUCCESS r8=1
TDH.MNG.RD rcx=$t rdx=0x1100000000000000 -> TDX_SUCCESS r8=0x10000000
TDH.MNG.RD rcx=$t rdx=0x8000000000000004 -> TDX_SUCCESS r8=12
TDH.MNG.RD rcx=$t rdx=0x123456 -> TDX_METADATA_FIELD_ID_INCORRECT
# Version 1 also tells the id of the next field; all ones in RDX ask for the first.
TDH.MNG.RD version=1 rcx=$t rdx=0xffffffffffffffff -> TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
