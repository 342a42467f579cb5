/* SPDX-License-Identifier: MIT */
/* base/abi: names of the module's leaves and completion statuses, from the tables of the ABI. */
#include "septum/abi.h"

#include <string.h>

/*
 * A status keeps its name whatever its operand says (bits 31:0). The success class is the one value
 * whose upper half is all zero.
 */
const char *tdx_status_name(uint64_t status)
{
	switch (tdx_status_class(status)) {
#define TDX_STATUS(name, value) \
	case value:             \
		return "TDX_" #name;
#include "septum/statuses.def"
#undef TDX_STATUS
	default:
		return NULL;
	}
}

bool tdx_status_value(const char *name, size_t n, uint64_t *status)
{
	static const struct {
		const char *name;
		uint64_t value;
	} statuses[] = {
#define TDX_STATUS(name, value) {"TDX_" #name, value},
#include "septum/statuses.def"
#undef TDX_STATUS
	};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (strlen(statuses[i].name) == n && !memcmp(statuses[i].name, name, n)) {
			*status = statuses[i].value;
			return true;
		}
	}
	return false;
}

const char *tdh_leaf_name(unsigned int leaf)
{
	switch (leaf) {
#define TDH_LEAF(sym, number, name) \
	case number:                \
		return name;
#include "septum/tdh_leaves.def"
#undef TDH_LEAF
	default:
		return NULL;
	}
}

const char *tdg_leaf_name(unsigned int leaf)
{
	switch (leaf) {
#define TDG_LEAF(sym, number, name) \
	case number:                \
		return name;
#include "septum/tdg_leaves.def"
#undef TDG_LEAF
	default:
		return NULL;
	}
}
