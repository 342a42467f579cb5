# TDH.MEM.SEPT.ADD adds a table page to the secure EPT. The root is there from the start; level N adds
# the page that the level-N entry points to, top down.
host memory=4G dpamt=off lps=1
td t
sept $t 0x200000
# The level above isn't there: RCX and RDX tell where the walk stopped.
TDH.MEM.SEPT.ADD rcx=0x200001 rdx=$t r8=$p0 -> TDX_EPT_WALK_FAILED|RCX rcx=0x8000000000000000 rdx=3
TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS rcx=0 rdx=0
TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS
TDH.MEM.SEPT.ADD rcx=0x200001 rdx=$t r8=$p2 -> TDX_SUCCESS
sept $t 0x200000

# Once is enough, unless bit 0 of RDX allows that the table is there already.
TDH.MEM.SEPT.ADD rcx=0x200001 rdx=$t r8=$p3 -> TDX_EPT_ENTRY_STATE_INCORRECT|RCX rcx=0x407 rdx=0x8401
TDH.MEM.SEPT.ADD rcx=0x200001 rdx=$t+1 r8=$p3 -> TDX_SUCCESS
TDH.PHYMEM.PAGE.RDMD rcx=$p3 -> TDX_SUCCESS rcx=0

# The page must be a free one.
TDH.MEM.SEPT.ADD rcx=0x400001 rdx=$t r8=$p2 -> TDX_PAGE_METADATA_INCORRECT|R8
TDH.MEM.SEPT.ADD rcx=0x400001 rdx=$t r8=0xffffffffffffffff -> TDX_OPERAND_INVALID|R8
# Version 1 also takes pages for nested guests, of which this TD has none.
TDH.MEM.SEPT.ADD version=1 rcx=0x400001 rdx=$t r8=$p3 r9=0xffffffffffffffff r10=0xffffffffffffffff r11=0xffffffffffffffff -> TDX_SUCCESS
