# TDH.MNG.KEY.RECLAIMID was part of the teardown once; today it does nothing.
host memory=4G dpamt=off lps=1
TDH.MNG.KEY.RECLAIMID -> TDX_SUCCESS
