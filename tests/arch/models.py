# SPDX-License-Identifier: MIT
"""What the models know of the tables is what the tables say, and they name nothing else.

usage: models.py ROOT CONSTANTS-PROGRAM | --self-test
"""
import re
import subprocess
import sys
from pathlib import Path

# Prefixes that belong to the generated names; a model may define none of them.
GENERATED = re.compile(r"\b(?:SEPT|SPTE|TDX|LOCK)_[A-Z0-9_]+\b|\bTD[HG]_\w+_MAY_ACT\b|"
                       r"\bPTRS_PER_TABLE\b")
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def rows(text, macro):
    """The arguments of each MACRO(...) of a .def file, split at commas outside parentheses."""
    text = COMMENT.sub("", text)
    for match in re.finditer(rf"^{macro}\(", text, re.M):
        depth, at, fields = 1, match.end(), [""]
        while depth:
            c = text[at]
            depth += (c == "(") - (c == ")")
            if c == "," and depth == 1:
                fields.append("")
            elif depth:
                fields[-1] += c
            at += 1
        yield [" ".join(field.split()) for field in fields]


def macros_of(printed):
    """{name: (parameters or None, body)} of the #define lines."""
    return {name: (parameters, body) for name, parameters, body in
            re.findall(r"^#define (\w+)(?:\(([^)]*)\))? (.*)$", printed, re.M)}


def numbers_complaints(macros, prefix, names, first):
    for i, name in enumerate(names, first):
        if macros.get(prefix + name, ("", ""))[1] != str(i):
            yield f"{prefix}{name} isn't {i}"


def holds(macros, name):
    """The numbers for which condition NAME holds."""
    return {int(n) for n in re.findall(r"\(s\) == (\d+)", macros.get(name, ("", ""))[1])}


def next_of(macros, name):
    return {int(a): int(b) for a, b in
            re.findall(r"\(s\) == (\d+) -> (\d+)", macros.get(name, ("", ""))[1])}


def state_complaints(macros, states):
    number = {row[0]: i for i, row in enumerate(states)}
    yield from numbers_complaints(macros, "SEPT_", number, 0)
    acting = {}
    for row in states:
        for kind, leaf in re.findall(r"\b([HG])\((\w+)\)", row[5] + " " + row[6]):
            name = {"H": "TDH_MEM_", "G": "TDG_MEM_PAGE_"}[kind] + leaf + "_MAY_ACT"
            acting.setdefault(name, set()).add(number[row[0]])
        if re.search(r"\bEXTEND\b", row[5]):
            acting.setdefault("TDH_MR_EXTEND_MAY_ACT", set()).add(number[row[0]])
    for name, where in acting.items():
        if holds(macros, name) != where:
            yield f"{name} holds in {sorted(holds(macros, name))}, not in {sorted(where)}"
    for name in macros:
        if name.endswith("_MAY_ACT") and name not in acting:
            yield f"{name}, which no state allows"
    for column, name in ((7, "BLOCKED"), (8, "UNBLOCKED"), (9, "ACCEPTED")):
        right = {number[row[0]]: number[row[column]] for row in states if row[column] != row[0]}
        if next_of(macros, "SEPT_WHEN_" + name) != right:
            yield f"SEPT_WHEN_{name} isn't the table's"


def change_complaints(macros, changes):
    kinds = ["NONE", "LEAF", "TABLE", "FROZEN"]
    yield from numbers_complaints(macros, "SPTE_", kinds, 0)
    for flag, name in (("LEGAL", "IS_LEGAL"), ("SHARED", "MAY_BE_SHARED"), ("HOOK", "HAS_HOOK"),
                       ("SPLIT", "IS_SPLIT"), ("PROMOTE", "IS_PROMOTION")):
        right = {(kinds.index(old), kinds.index(new)) for old, new, flags in changes
                 if f"CHANGE_{flag}" in flags.split(" | ")}
        body = macros.get("SPTE_CHANGE_" + name, ("", ""))[1]
        found = {(int(a), int(b)) for a, b in
                 re.findall(r"\(\(from\) == (\d+) && \(to\) == (\d+)\)", body)}
        if found != right:
            yield f"SPTE_CHANGE_{name} isn't the table's"


def model_complaints(macros, models):
    for path, text in models.items():
        text = COMMENT.sub("", text)
        for name in re.findall(r"^\s*#\s*define\s+(\w+)", text, re.M):
            if GENERATED.fullmatch(name):
                yield f"{path} defines {name}"
        for name in sorted(set(GENERATED.findall(text)) - set(macros)):
            yield f"{path} names {name}, which no table has"


def complaints(printed, tables, models):
    macros = macros_of(printed)
    for name in ("states", "statuses", "locks", "changes"):
        if not tables[name]:
            yield f"no {name} in the tables"
    yield from state_complaints(macros, tables["states"])
    yield from change_complaints(macros, tables["changes"])
    yield from numbers_complaints(macros, "TDX_", [row[0] for row in tables["statuses"]], 0)
    # 0 is a process that holds no lock.
    yield from numbers_complaints(macros, "", [row[0] for row in tables["locks"]], 1)
    yield from model_complaints(macros, models)


def self_test():
    states = list(rows("/* SEPT_STATE(x) */\n"
                       "SEPT_STATE(FREE, 1, 0, 1, IS_FREE,\n"
                       "\t   H(PAGE_AUG) | EXTEND, 0, FREE, FREE, FREE)\n"
                       "SEPT_STATE(MAPPED, 2, 4, 1, 0,\n"
                       "\t   H(PAGE_AUG), G(ACCEPT), FREE, MAPPED, MAPPED)\n",
                       "SEPT_STATE"))
    tables = {"states": states, "statuses": [["SUCCESS", "0"]], "locks": [["LOCK_A", '"a"']],
              "changes": [["NONE", "LEAF", "CHANGE_LEGAL | CHANGE_HOOK"]]}
    printed = ("#define SEPT_FREE 0\n#define SEPT_MAPPED 1\n"
               "#define TDH_MEM_PAGE_AUG_MAY_ACT(s) (false || (s) == 0 || (s) == 1)\n"
               "#define TDH_MR_EXTEND_MAY_ACT(s) (false || (s) == 0)\n"
               "#define TDG_MEM_PAGE_ACCEPT_MAY_ACT(s) (false || (s) == 1)\n"
               "#define SEPT_WHEN_BLOCKED(s) ((s) == 1 -> 0 : (s))\n"
               "#define SPTE_NONE 0\n#define SPTE_LEAF 1\n"
               "#define SPTE_TABLE 2\n#define SPTE_FROZEN 3\n"
               "#define SPTE_CHANGE_IS_LEGAL(from, to) (false || ((from) == 0 && (to) == 1))\n"
               "#define SPTE_CHANGE_HAS_HOOK(from, to) (false || ((from) == 0 && (to) == 1))\n"
               "#define TDX_SUCCESS 0\n#define LOCK_A 1\n")
    model = {"m": "byte s = SEPT_FREE; /* SEPT_NO */ bool lock_order; TDH_MEM_PAGE_AUG_MAY_ACT(s)"}
    assert not list(complaints(printed, tables, model)), list(complaints(printed, tables, model))
    for bad in (printed.replace("SEPT_MAPPED 1", "SEPT_MAPPED 2"),
                printed.replace("|| (s) == 0 || (s) == 1", "|| (s) == 0"),
                printed.replace("-> 0", "-> 1"),
                printed.replace("SPTE_TABLE 2", "SPTE_TABLE 3"),
                re.sub(r"(IS_LEGAL.*\(from\) == )0", r"\g<1>2", printed),
                printed.replace("LOCK_A 1", "LOCK_A 0"),
                printed.replace("TDX_SUCCESS 0\n", "TDX_SUCCESS 1\n"),
                printed + "#define TDH_MEM_RD_MAY_ACT(s) (false || (s) == 0)\n"):
        assert list(complaints(bad, tables, model)), bad
    for bad in ("byte s = SEPT_NO;", "#define SEPT_MAPPED 7\n", "TDH_MEM_NO_MAY_ACT(s)", "LOCK_B"):
        assert list(complaints(printed, tables, {"m": bad})), bad
    assert list(complaints(printed, tables | {"locks": []}, model))


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    root = Path(sys.argv[1])
    printed = subprocess.run([sys.argv[2]], check=True, capture_output=True, text=True).stdout
    tables = {
        "states": list(rows((root / "src/seam/sept_states.def").read_text(), "SEPT_STATE")),
        "statuses": list(rows((root / "include/septum/statuses.def").read_text(), "TDX_STATUS")),
        "locks": list(rows((root / "src/base/lock_order.def").read_text(), "LOCK_CLASS")),
        "changes": list(rows((root / "src/mmu/spte_changes.def").read_text(), "SPTE_CHANGE")),
    }
    models = {path.name: path.read_text() for path in (root / "models").glob("*.pml")}
    found = list(complaints(printed, tables, models))
    if not models:
        found.append("no models")
    print("\n".join(found))
    print(f"{len(models)} models, {len(found)} complaints")
    return 1 if found else 0


sys.exit(main())
