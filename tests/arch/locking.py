# SPDX-License-Identifier: MIT
"""docs/locking.md lists the locks of lock_order.def, in its order, and the same rule for RCU.

usage: locking.py ROOT | --self-test
"""
import re
import sys
from pathlib import Path


def order_of_def(text):
    return re.findall(r'^LOCK_CLASS\((\w+),\s*"([^"]+)"\)', text, re.M)


def order_of_doc(text):
    """Names in the first column of the table, each in backquotes, with the number before it."""
    return re.findall(r"^\|\s*(\d+)\s*\|\s*`([^`]+)`\s*\|", text, re.M)


def first_inside_rcu(text):
    match = re.search(r"^#define LOCK_FIRST_INSIDE_RCU (\w+)", text, re.M)
    return match.group(1) if match else None


def complaints(definition, header, doc):
    order = order_of_def(definition)
    table = order_of_doc(doc)
    if not order:
        yield "lock_order.def names no lock"
    if [name for _, name in order] != [name for _, name in table]:
        yield f"the table has {[n for _, n in table]}, lock_order.def {[n for _, n in order]}"
    if [int(number) for number, _ in table] != list(range(1, len(table) + 1)):
        yield "the table's numbers don't count from 1"
    first = dict(order).get(first_inside_rcu(header))
    if not first or f"`{first}` and below" not in doc:
        yield f"the text doesn't say \"`{first}` and below\" of RCU sections"


def self_test():
    """Agreement passes; a missing, extra, swapped or misnumbered row, or another rule, doesn't."""
    definition = 'LOCK_CLASS(LOCK_A, "room.a")\nLOCK_CLASS(LOCK_B, "room.b")\n'
    header = "#define LOCK_FIRST_INSIDE_RCU LOCK_B\n"
    rows = ["| 1 | `room.a` | x |\n", "| 2 | `room.b` | y |\n"]
    rule = "Readers wait for `room.b` and below.\n"
    assert not list(complaints(definition, header, "".join(rows) + rule))
    bad = [
        (definition, header, rows[0] + rule),
        (definition, header, "".join(rows) + "| 3 | `room.c` | z |\n" + rule),
        (definition, header, "| 1 | `room.b` | y |\n| 2 | `room.a` | x |\n" + rule),
        (definition, header, rows[0] + "| 3 | `room.b` | y |\n" + rule),
        (definition, header, "".join(rows)),
        (definition, header.replace("LOCK_B", "LOCK_A"), "".join(rows) + rule),
        ("", header, rule),
    ]
    for sample in bad:
        assert list(complaints(*sample)), sample


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    root = Path(sys.argv[1])
    found = list(complaints((root / "src/base/lock_order.def").read_text(),
                            (root / "src/base/lockdep.h").read_text(),
                            (root / "docs/locking.md").read_text()))
    print("\n".join(found))
    print(f"{len(found)} complaints")
    return 1 if found else 0


sys.exit(main())
