# TDH.PHYMEM.CACHE.WB writes a package's caches back, so that key ids of ended TDs can be used again.
# RCX is 0 to start, 1 to go on after an interrupt.
host memory=4G dpamt=off lps=1
td t vcpus=1
TDH.PHYMEM.CACHE.WB rcx=2 -> TDX_OPERAND_INVALID|RCX
TDH.PHYMEM.CACHE.WB rcx=0 -> TDX_NO_HKID_READY_TO_WBCACHE
TDH.PHYMEM.CACHE.WB rcx=1 -> TDX_WBCACHE_RESUME_ERROR
TDH.VP.FLUSH rcx=$t.0 -> TDX_SUCCESS
TDH.MNG.VPFLUSHDONE rcx=$t -> TDX_SUCCESS

interrupt 0
TDH.PHYMEM.CACHE.WB rcx=0 -> TDX_INTERRUPTED_RESUMABLE
clear 0
TDH.MNG.KEY.FREEID rcx=$t -> TDX_WBCACHE_NOT_COMPLETE
TDH.PHYMEM.CACHE.WB rcx=1 -> TDX_SUCCESS
TDH.MNG.KEY.FREEID rcx=$t -> TDX_SUCCESS
