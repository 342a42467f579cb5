# TDH.SYS.UPDATE belongs to a module that was loaded over one that has shut down; without that it is
# out of place.
host memory=4G dpamt=off lps=1
TDH.SYS.UPDATE -> TDX_SYS_STATE_INCORRECT
