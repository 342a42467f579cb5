# TDH.VP.WR writes a field of a vCPU. The one that every host needs is the pointer to the page tables of
# shared memory, VMCS field 0x203c.
host memory=4G dpamt=off lps=1
td t vcpus=1
TDH.VP.WR rcx=$t.0 rdx=0x203c r8=0x40000000 r9=0xffffffffffffffff -> TDX_SUCCESS r8=0
TDH.VP.RD rcx=$t.0 rdx=0x203c -> TDX_SUCCESS r8=0x40000000
TDH.VP.WR rcx=$t.0 rdx=0x123456 r8=1 r9=1 -> TDX_METADATA_FIELD_ID_INCORRECT
