# SPDX-License-Identifier: MIT
"""No file includes what the arrows forbid, and nobody but base races by his own means.

usage: includes.py ROOT | --self-test
"""
import re
import sys
import tempfile
from pathlib import Path

# Room -> rooms whose headers it may include besides its own; "septum" is include/septum.
BELOW_VM = {"base", "septum", "host", "cpu", "seam", "gmem", "mmu", "tdx"}
ARROWS = {
    "base": {"septum"},
    "host": {"base"},
    "cpu": {"base", "host", "septum"},
    "seam": {"base", "host", "cpu", "septum"},
    "gmem": {"base", "host"},
    "mmu": {"base", "host"},
    "tdx": {"base", "host", "cpu", "mmu", "septum"},
    "vm": BELOW_VM,
    "guest": BELOW_VM | {"vm"},
    "observe": {"base", "septum"},
    "check": BELOW_VM | {"vm", "guest", "observe"},
    "script": BELOW_VM | {"vm", "guest", "observe"},
    "explore": BELOW_VM | {"vm", "guest", "observe", "script", "check"},
    "cli": BELOW_VM | {"vm", "guest", "observe", "script", "check", "explore"},
}

# What other rooms may see of a room below vm; the rest is its own.
PUBLIC = {
    "base": {"bug.h", "rng.h", "sparse.h", "sync.h", "trace.h", "types.h", "bugs.def", "lock_order.def"},
    "host": {"host.h", "hugetlb.h"},
    "cpu": {"lp.h"},
    "seam": {"seam.h", "sept_states.def"}, # the table of states is there to be generated from
    "gmem": {"gmem.h"},
    "mmu": {"mmu.h"},
    "tdx": {"tdx.h"},
    "vm": {"vm.h"},
    "observe": {"events.h", "text.h"},
}

# Audits: may look at what is a room's own, in the rooms that it may see.
SEES_ALL = {"check", "explore"}

# Ways to race or block that belong to base/sync alone.
RACING = re.compile(r"\bpthread_\w+|<pthread\.h>|<stdatomic\.h>|<threads\.h>|\burcu\w*|"
                    r"\b__atomic_\w+|\b__sync_\w+|\b_Atomic\b|\b_Thread_local\b|\b__thread\b|"
                    r"\bsched_yield\b")
# A wait that no scheduler would see. The command line may: its progress display watches a clock.
SLEEP = re.compile(r"\b(?:u|nano)?sleep\s*\(")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)


def include_complaints(root, path):
    relative = path.relative_to(root)
    room = "septum" if relative.parts[0] == "include" else relative.parts[1]
    allowed = ARROWS.get(room, set())
    for name in INCLUDE.findall(path.read_text()):
        parts = name.split("/")
        if len(parts) != 2:
            yield f'{relative}: "{name}" doesn\'t say which room it is of'
        elif parts[0] != room and parts[0] not in allowed:
            yield f"{relative}: {room} may not know {parts[0]} ({name})"
        elif parts[0] != room and room not in SEES_ALL and parts[1] not in PUBLIC.get(parts[0], {parts[1]}):
            yield f"{relative}: {name} is {parts[0]}'s own"


def racing_complaints(root, path):
    relative = path.relative_to(root)
    if relative.parts[:2] == ("src", "base"):
        return
    # Blank out comments and strings, but not the names in angle brackets.
    text = COMMENT.sub(lambda m: "\n" * m.group().count("\n"), path.read_text())
    for number, line in enumerate(text.split("\n"), 1):
        words = RACING.findall(line)
        if relative.parts[:2] != ("src", "cli"):
            words += SLEEP.findall(line)
        for word in words:
            yield f"{relative}:{number}: {word.strip()} belongs to base/sync"


def complaints(root):
    found, count = [], 0
    for folder in ("include", "src"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".c", ".h", ".def"):
                continue
            count += 1
            found += include_complaints(root, path)
            found += racing_complaints(root, path)
    return found, count


def self_test():
    """Each bad sample is named for its own reason, and good ones pass."""
    samples = [
        ("src/mmu/a.c", '#include "host/host.h"\n#include "mmu/internal.h"\n', None),
        ("src/mmu/a.c", '#include "septum/abi.h"\n', "mmu may not know septum"),
        ("src/host/a.h", '#include "cpu/lp.h"\n', "host may not know cpu"),
        ("src/tdx/a.c", '#  include "seam/seam.h"\n', "tdx may not know seam"),
        ("src/gmem/a.c", '#include "mmu/mmu.h"\n', "gmem may not know mmu"),
        ("src/seam/a.c", '#include "cpu/tlb.h"\n', "cpu/tlb.h is cpu's own"),
        ("src/vm/a.c", '#include "base/lockdep.h"\n', "base/lockdep.h is base's own"),
        ("src/cli/a.c", '#include "observe/file.h"\n', "observe/file.h is observe's own"),
        ("src/observe/a.c", '#include "host/host.h"\n', "observe may not know host"),
        ("src/vm/a.c", '#include "other.h"\n', "doesn't say which room"),
        ("src/newroom/a.c", '#include "base/types.h"\n', "newroom may not know base"),
        ("include/septum/a.h", '#include "base/types.h"\n', "septum may not know base"),
        ("src/vm/a.c", "/* pthread_create */ int x;\n", None),
        ("src/vm/a.c", "\n#include <pthread.h>\n", "a.c:2: <pthread.h> belongs"),
        ("src/vm/a.c", "int f(void)\n{\n\treturn __atomic_load_n(p, 0);\n}\n", "a.c:3: __atomic_load_n"),
        ("src/vm/a.c", "void f(void)\n{\n\t__sync_synchronize();\n}\n", "a.c:3: __sync_synchronize"),
        ("src/vm/a.c", "#include <urcu/urcu-memb.h>\n", "urcu"),
        ("src/vm/a.c", "static _Thread_local int x;\n", "_Thread_local belongs"),
        ("src/vm/a.c", "void f(void)\n{\n\tusleep(10);\n}\n", "usleep("),
        ("src/cli/a.c", "void f(void)\n{\n\tusleep(10);\n}\n", None),
        ("src/base/a.c", "#include <pthread.h>\n", None),
        ("src/check/a.c", '#include "mmu/internal.h"\n', None),
        ("src/check/a.c", '#include "cli/run.h"\n', "check may not know cli"),
        ("src/script/a.c", '#include "check/invariants.h"\n', "script may not know check"),
        ("src/explore/a.c", '#include "tdx/internal.h"\n', None),
        ("src/check/a.c", '#include "explore/world.h"\n', "check may not know explore"),
    ]
    for name, text, want in samples:
        with tempfile.TemporaryDirectory() as tmp:
            path = Path(tmp) / name
            path.parent.mkdir(parents=True)
            path.write_text(text)
            found, count = complaints(Path(tmp))
            assert count == 1, count
            if want is None:
                assert not found, found
            else:
                assert found and all(want in line for line in found), (text, found)


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    found, count = complaints(Path(sys.argv[1]))
    print("\n".join(found))
    print(f"{count} files, {len(found)} complaints")
    return 1 if found or not count else 0


sys.exit(main())
