# TDH.MNG.ADDCX adds a page to the TD's control structure, TDCS. Six are needed; the fourth is the root
# of the secure EPT.
host memory=4G dpamt=off lps=1
td t state=keys
TDH.MNG.ADDCX rcx=$t+0x1000 rdx=$t -> TDX_SUCCESS
TDH.MNG.ADDCX rcx=$t+0x1000 rdx=$t -> TDX_PAGE_METADATA_INCORRECT|RCX
TDH.MNG.ADDCX rcx=$t+0x2000 rdx=$t -> TDX_SUCCESS
TDH.MNG.ADDCX rcx=$t+0x3000 rdx=$t -> TDX_SUCCESS
TDH.MNG.ADDCX rcx=$t+0x4000 rdx=$t -> TDX_SUCCESS
TDH.MNG.ADDCX rcx=$t+0x5000 rdx=$t -> TDX_SUCCESS
TDH.MNG.INIT rcx=$t rdx=$t.params -> TDX_TDCS_NOT_ALLOCATED
TDH.MNG.ADDCX rcx=$t+0x6000 rdx=$t -> TDX_SUCCESS
TDH.MNG.INIT rcx=$t rdx=$t.params -> TDX_SUCCESS
TDH.PHYMEM.PAGE.RDMD rcx=$t+0x6000 -> TDX_SUCCESS rcx=5 rdx=$t
