# TDH.VP.CREATE makes a vCPU: RCX is a free page that becomes its TDVPR.
host memory=4G dpamt=off lps=1
td t state=initialized vcpus=1
TDH.VP.CREATE rcx=$t rdx=$t -> TDX_OPERAND_BUSY|RCX
TDH.VP.CREATE rcx=$t.0 rdx=$t -> TDX_SUCCESS
TDH.VP.CREATE rcx=$t.0 rdx=$t -> TDX_PAGE_METADATA_INCORRECT|RCX
TDH.PHYMEM.PAGE.RDMD rcx=$t.0 -> TDX_SUCCESS rcx=6 rdx=$t
