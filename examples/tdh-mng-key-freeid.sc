# TDH.MNG.KEY.FREEID gives the key id back: the caches of all packages have been written back. The TD
# is in TEARDOWN then, and its pages can be reclaimed.
host memory=4G dpamt=off lps=1
td t vcpus=1
td u raw
TDH.MNG.KEY.FREEID rcx=$t -> TDX_LIFECYCLE_STATE_INCORRECT
TDH.VP.FLUSH rcx=$t.0 -> TDX_SUCCESS
TDH.MNG.VPFLUSHDONE rcx=$t -> TDX_SUCCESS
TDH.MNG.KEY.FREEID rcx=$t -> TDX_WBCACHE_NOT_COMPLETE
TDH.MNG.CREATE rcx=$u rdx=$t.hkid -> TDX_HKID_NOT_FREE
TDH.PHYMEM.CACHE.WB rcx=0 -> TDX_SUCCESS
TDH.MNG.KEY.FREEID rcx=$t -> TDX_SUCCESS
TDH.MNG.CREATE rcx=$u rdx=$t.hkid -> TDX_SUCCESS
