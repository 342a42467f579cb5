# TDH.MNG.CREATE makes a TD: RCX is a free page that becomes its TDR, RDX a private key id that no
# other TD has. "td t raw" only reserves names: $t, a page, and $t.hkid, a key id.
host memory=4G dpamt=on lps=1
td t raw
td u raw

# Key ids below 0x20 are the host's own; 0x20 is the module's.
TDH.MNG.CREATE rcx=$t rdx=0x1f -> TDX_OPERAND_INVALID|RDX
TDH.MNG.CREATE rcx=$t rdx=0x20 -> TDX_HKID_NOT_FREE
TDH.MNG.CREATE rcx=$t rdx=$t.hkid -> TDX_SUCCESS
pamt 0x200000
TDH.MNG.CREATE rcx=$u rdx=$t.hkid -> TDX_HKID_NOT_FREE
TDH.MNG.CREATE rcx=$t rdx=$u.hkid -> TDX_PAGE_METADATA_INCORRECT|RCX

# With Dynamic PAMT a page needs the pair of its 2M range first.
TDH.MNG.CREATE rcx=0x40000000 rdx=$u.hkid -> TDX_MISSING_PAMT_PAGE_PAIR|RCX
