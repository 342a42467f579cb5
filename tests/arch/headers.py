# SPDX-License-Identifier: MIT
"""Each header under src/ and include/ compiles alone, twice in a row, with and without checks.

usage: headers.py ROOT -- COMPILER FLAGS...
       headers.py --self-test -- COMPILER FLAGS...
"""
import subprocess
import sys
import tempfile
from pathlib import Path


def headers(root):
    for folder in ("include", "src"):
        for path in sorted((root / folder).rglob("*.h")):
            yield path.relative_to(root / folder)


def complaints(root, compiler):
    """One line a header and build in which it doesn't compile; and how many headers there are."""
    found, count = [], 0
    for header in headers(root):
        count += 1
        for build in ([], ["-DSEPTUM_CHECK"]):
            # Twice: the second inclusion must be empty.
            text = f'#include "{header}"\n#include "{header}"\n'
            run = subprocess.run(
                compiler + build + [f"-I{root}/include", f"-I{root}/src", f"-I{root}",
                                    "-fsyntax-only", "-x", "c", "-"],
                input=text, capture_output=True, text=True, check=False)
            if run.returncode:
                what = " ".join(build) or "without checks"
                found.append(f"{header} ({what}) doesn't compile alone:\n{run.stderr}")
    return found, count


def self_test(compiler):
    """A good header passes; each bad one is named."""
    good = "#ifndef GOOD_H\n#define GOOD_H\nstatic inline int good(int x)\n{\n\treturn x;\n}\n#endif\n"
    bad = {
        "needs_another.h": "#ifndef A_H\n#define A_H\nu64 unknown_type(void);\n#endif\n",
        "no_guard.h": "struct twice {\n\tint x;\n};\n",
        "warns.h": "#ifndef W_H\n#define W_H\nstatic inline char w(int x)\n{\n\treturn x;\n}\n#endif\n",
        "only_checked.h": "#ifndef O_H\n#define O_H\n#ifdef SEPTUM_CHECK\nint o(nothing);\n#endif\n#endif\n",
    }
    for name, text in [("good.h", good), *bad.items()]:
        with tempfile.TemporaryDirectory() as tmp:
            room = Path(tmp) / "src" / "room"
            room.mkdir(parents=True)
            (room / name).write_text(text)
            found, count = complaints(Path(tmp), compiler)
            assert count == 1, count
            assert bool(found) == (name != "good.h"), (name, found)
            assert all(f"room/{name}" in line for line in found), found


def main():
    split = sys.argv.index("--")
    compiler = sys.argv[split + 1:]
    if sys.argv[1] == "--self-test":
        self_test(compiler)
        return 0
    found, count = complaints(Path(sys.argv[1]), compiler)
    print("\n".join(found))
    print(f"{count} headers, {len(found)} complaints")
    return 1 if found or not count else 0


sys.exit(main())
