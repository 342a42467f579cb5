# TDG.VP.INFO tells a guest what it runs in: RCX the width of its addresses, RDX attributes, R8 vCPUs there
# are and may be, R9 its index.
host memory=4G dpamt=off lps=2
td t vcpus=2 gpaw=52 sept_ve_disable=0
enter t.1
t.1: TDG.VP.INFO -> TDX_SUCCESS rcx=52 rdx=0 r8=0x200000002 r9=1
exit t.1
