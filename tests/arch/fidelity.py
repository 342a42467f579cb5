# SPDX-License-Identifier: MIT
"""docs/fidelity.md and tests/seam/failures.md have a row for each leaf; what they name exists.

usage: fidelity.py ROOT | --self-test
"""
import re
import sys
from pathlib import Path

# Names in backquotes that look like a status and aren't one.
NOT_STATUSES = {"SUCCESS"}


def leaves_of(definition):
    """{name: number} of the TDH_LEAF or TDG_LEAF lines."""
    return {name: int(number)
            for number, name in re.findall(r'^TD[HG]_LEAF\(\w+,\s*(\d+),\s*"([^"]+)"\)', definition,
                                           re.M)}


def statuses_of(definition):
    return set(re.findall(r"^TDX_STATUS\((\w+),", definition, re.M))


def profiles_of(source):
    """{name: real} of the profiles in profile.c."""
    return {name: "is_real = true" in body
            for name, body in re.findall(r'\{\s*\.name = "([^"]+)",(.*?)\n\t\}', source, re.S)}


def leaf_rows(doc):
    """[(name, second column)] of the rows that begin with a leaf."""
    return re.findall(r"^\|\s*(TD[HG]\.[A-Z.]+)\s*\|\s*([^|]*?)\s*\|", doc, re.M)


def rows_against_leaves(where, rows, leaves):
    names = [name for name, _ in rows]
    for name in leaves:
        if names.count(name) != 1:
            yield f"{where}: {names.count(name)} rows for {name}"
    for name in names:
        if name not in leaves:
            yield f"{where}: a row for {name}, which is no leaf"


def unknown_statuses(where, doc, statuses):
    for name in sorted(set(re.findall(r"`([A-Z][A-Z0-9_]{4,})`", doc)) - statuses - NOT_STATUSES):
        yield f"{where}: {name} is no status"


def ledger_complaints(doc, leaves, statuses, profiles):
    rows = leaf_rows(doc)
    yield from rows_against_leaves("fidelity.md", rows, leaves)
    for name, number in rows:
        if name in leaves and number != str(leaves[name]):
            yield f"fidelity.md: {name} is {leaves[name]}, not {number}"
    yield from unknown_statuses("fidelity.md", doc, statuses)
    for name, real in profiles.items():
        row = re.search(rf"^\| `{re.escape(name)}` \|([^|]*)\|", doc, re.M)
        if not row:
            yield f"fidelity.md: no row for profile {name}"
        elif ("not real" in row.group(1)) == real:
            yield f"fidelity.md: says of profile {name}:{row.group(1)}"


def failures_complaints(doc, leaves, statuses, tests, scripts):
    """tests: {file without test_ and .c: its text}; scripts: names of vector scripts."""
    yield from rows_against_leaves("failures.md", leaf_rows(doc), leaves)
    yield from unknown_statuses("failures.md", doc, statuses)
    for name, test in re.findall(r"\b(\w+):(test_\w+)", doc):
        if f"cmocka_unit_test({test})" not in tests.get(name, ""):
            yield f"failures.md: test_{name}.c doesn't run {test}"
    for script in re.findall(r"\b([\w-]+\.sc)\b", doc):
        if script not in scripts:
            yield f"failures.md: no script {script}"
    for name in re.findall(r"\bas (TD[HG](?:\.[A-Z]+)+)", doc):
        if name not in leaves:
            yield f"failures.md: refers to {name}, which is no leaf"


def self_test():
    leaves = leaves_of('TDH_LEAF(TDH_A, 1, "TDH.A")\nTDG_LEAF(TDG_B, 2, "TDG.B")\n')
    assert leaves == {"TDH.A": 1, "TDG.B": 2}
    statuses = statuses_of("TDX_STATUS(OPERAND_BUSY, 0x8ULL)\n")
    profiles = profiles_of('\t{\n\t\t.name = "1.0",\n\t\t.is_real = true,\n\t},\n'
                           '\t{\n\t\t.name = "next",\n\t},\n')
    assert profiles == {"1.0": True, "next": False}
    ledger = ("| TDH.A | 1 | `OPERAND_BUSY` |\n| TDG.B | 2 | |\n"
              "| `1.0` | yes |\n| `next` | **not real** |\n")
    assert not list(ledger_complaints(ledger, leaves, statuses, profiles))
    for bad in (ledger.replace("| TDG.B | 2 | |\n", ""),
                ledger + "| TDH.A | 1 | |\n",
                ledger + "| TDH.C | 3 | |\n",
                ledger.replace("| TDG.B | 2 |", "| TDG.B | 7 |"),
                ledger.replace("OPERAND_BUSY", "OPERAND_LAZY"),
                ledger.replace("| `1.0` | yes |\n", ""),
                ledger.replace("**not real**", "yes"),
                ledger.replace("| `1.0` | yes |", "| `1.0` | not real |")):
        assert list(ledger_complaints(bad, leaves, statuses, profiles)), bad
    failures = "| TDH.A | `OPERAND_BUSY`: x:test_y, z.sc |\n| TDG.B | as TDH.A |\n"
    tests = {"x": "cmocka_unit_test(test_y)"}
    assert not list(failures_complaints(failures, leaves, statuses, tests, {"z.sc"}))
    for bad in (failures.replace("| TDG.B | as TDH.A |\n", ""),
                failures.replace("OPERAND_BUSY", "OPERAND_LAZY"),
                failures.replace("x:test_y", "x:test_n"),
                failures.replace("x:test_y", "w:test_y"),
                failures.replace("z.sc", "y.sc"),
                failures.replace("as TDH.A", "as TDH.Q")):
        assert list(failures_complaints(bad, leaves, statuses, tests, {"z.sc"})), bad


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    root = Path(sys.argv[1])
    abi = root / "include/septum"
    leaves = leaves_of((abi / "tdh_leaves.def").read_text())
    leaves |= leaves_of((abi / "tdg_leaves.def").read_text())
    statuses = statuses_of((abi / "statuses.def").read_text())
    profiles = profiles_of((root / "src/seam/profile.c").read_text())
    tests = {path.stem.removeprefix("test_"): path.read_text()
             for path in (root / "tests/seam").glob("test_*.c")}
    scripts = {path.name for path in (root / "tests/vectors").glob("*.sc")}
    found = list(ledger_complaints((root / "docs/fidelity.md").read_text(), leaves, statuses,
                                   profiles))
    found += failures_complaints((root / "tests/seam/failures.md").read_text(), leaves, statuses,
                                 tests, scripts)
    if not leaves or not statuses or not profiles:
        found.append("the definitions name no leaf, status or profile")
    print("\n".join(found))
    print(f"{len(leaves)} leaves, {len(found)} complaints")
    return 1 if found else 0


sys.exit(main())
