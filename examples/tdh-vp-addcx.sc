# TDH.VP.ADDCX adds a page to a vCPU's control structure; it takes five beside its TDVPR.
host memory=4G dpamt=off lps=1
td t state=initialized vcpus=1
TDH.VP.ADDCX rcx=$t.0+0x1000 rdx=$t.0 -> TDX_PAGE_METADATA_INCORRECT|RDX
TDH.VP.CREATE rcx=$t.0 rdx=$t -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x1000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x2000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x3000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.ADDCX rcx=$t.0+0x4000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.INIT rcx=$t.0 -> TDX_TDCX_NUM_INCORRECT
TDH.VP.ADDCX rcx=$t.0+0x5000 rdx=$t.0 -> TDX_SUCCESS
TDH.VP.INIT rcx=$t.0 -> TDX_SUCCESS
