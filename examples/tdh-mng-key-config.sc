# TDH.MNG.KEY.CONFIG gives the TD's key id its key, once on each package.
host memory=4G dpamt=off lps=1
td t state=created
# Without keys nothing can be written for the TD.
TDH.MNG.ADDCX rcx=$t+0x1000 rdx=$t -> TDX_TD_KEYS_NOT_CONFIGURED
TDH.MNG.KEY.CONFIG rcx=$t -> TDX_SUCCESS
TDH.MNG.KEY.CONFIG rcx=$t -> TDX_LIFECYCLE_STATE_INCORRECT
TDH.MNG.ADDCX rcx=$t+0x1000 rdx=$t -> TDX_SUCCESS
