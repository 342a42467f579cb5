# SPDX-License-Identifier: MIT
"""No variable that can change outlives a call, except those of base/sync.

Reads the symbols of the built library's objects, with the section each lies in. A table of pointers
that only the loader writes (.data.rel.ro) is constant.

usage: globals.py LIBRARY
       globals.py --self-test -- COMPILER...
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# Object (as its name ends) -> its variables.
ALLOWED = {
    "base_sync.c.o": {
        "self",    # what the calling thread is; thread-local
        "registered", # it is known to liburcu; thread-local
        "queue",   # RCU callbacks that wait for their grace period
        "readers", # an address that stands for RCU readers, under ThreadSanitizer only
    },
    "base_sched.c.o": {
        "sync_sched", # the run that the calling thread is in; thread-local
        "active",     # the same, also while a policy is asked; thread-local
    },
}
CHANGEABLE = re.compile(r"^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\.lbss|\.ldata|\*COM\*)")


def variables(library):
    """(object, variable) for every symbol in a section that can change."""
    run = subprocess.run(["nm", "-f", "sysv", library], capture_output=True, text=True, check=True)
    member = Path(library).name
    for line in run.stdout.splitlines():
        title = re.match(r"^Symbols from (.*):$", line)
        if title:
            member = re.sub(r"^.*\[|\]$", "", title.group(1))
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 7 and CHANGEABLE.match(fields[6]) and "SECTION" not in fields[3]:
            yield Path(member).name, fields[0]


def complaints(library):
    for member, name in variables(library):
        # GCC numbers the statics of functions: name.0
        plain = re.sub(r"\.\d+$", "", name)
        allowed = [names for end, names in ALLOWED.items() if member.endswith(end)]
        if not any(plain in names for names in allowed):
            yield f"{member}: {name} is a variable that outlives its call"


def self_test(compiler):
    """Each kind of variable is found; constants, also tables of pointers, pass."""
    samples = [
        ("int counter;", "counter"),
        ("int counter = 5;", "counter"),
        ("static int hidden; int f(void);\nint f(void) { return hidden++; }", "hidden"),
        ("int f(void);\nint f(void) { static int calls; return calls++; }", "calls"),
        ("_Thread_local int mine;", "mine"),
        ("_Thread_local int mine = 3;", "mine"),
        ("const char *names[] = {\"a\"};", "names"),
        ("const char *const names[] = {\"a\", \"b\"};", None),
        ("const int table[] = {1, 2};", None),
    ]
    for text, want in samples:
        with tempfile.TemporaryDirectory() as tmp:
            source, thing = Path(tmp) / "a.c", Path(tmp) / "a.o"
            source.write_text(text + "\n")
            for extra in (["-fPIE"], ["-fcommon"]):
                subprocess.run(compiler + extra + ["-c", str(source), "-o", str(thing)], check=True)
                found = list(complaints(str(thing)))
                if want is None:
                    assert not found, (text, found)
                else:
                    assert len(found) == 1 and want in found[0], (text, found)


def main():
    if sys.argv[1] == "--self-test":
        self_test(sys.argv[sys.argv.index("--") + 1:])
        return 0
    everything = list(variables(sys.argv[1]))
    found = list(complaints(sys.argv[1]))
    print("\n".join(found))
    print(f"{len(everything)} variables, {len(found)} complaints")
    # Without base/sync's own the reading of the symbols has gone wrong.
    return 1 if found or not everything else 0


sys.exit(main())
