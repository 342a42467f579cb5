# TDH.SYS.RD reads one global field by its id in RDX: R8 is the value, RDX the id of the next field.
host memory=4G dpamt=off lps=1 profile=1.5.25

# No id: the module names the first one.
TDH.SYS.RD rdx=0 -> TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT

# TDX_FEATURES0: bit 36 is Dynamic PAMT; bit 51, a DEMOTE that interrupts can't stop, came with 1.5.28.
TDH.SYS.RD rdx=0x0A00000300000008 -> TDX_SUCCESS r8=0x1000000000/0x8001000000000

# MAX_TDMRS and the size of a PAMT entry.
TDH.SYS.RD rdx=0x9100000100000008 -> TDX_SUCCESS r8=64
TDH.SYS.RD rdx=0x9100000100000010 -> TDX_SUCCESS r8=16

TDH.SYS.RD rdx=0x123456 -> TDX_METADATA_FIELD_ID_INCORRECT
