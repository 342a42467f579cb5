# SPDX-License-Identifier: MIT
"""Writes the shipped programs as a C table, and what it depends on for ninja.

usage: embed.py OUTPUT DEPFILE FOLDER
"""
import sys
from pathlib import Path

HEAD = """/* Made from programs/ by src/explore/embed.py. */
#include "explore/shipped.h"

const struct shipped_program shipped_programs[] = {
"""


def literal(text):
    """One C string a line; no character of a program needs more than this."""
    for line in text.splitlines(keepends=True):
        yield '"' + "".join(c if c.isalnum() or c in " #.,:;=-_'()/<>+*!" else f"\\{ord(c):03o}"
                            for c in line) + '"'


def main():
    output, depfile, folder = sys.argv[1:]
    paths = sorted(Path(folder).glob("*.prog"), key=lambda p: p.stem)
    with open(output, "w", encoding="ascii") as out:
        out.write(HEAD)
        for path in paths:
            text = path.read_text(encoding="ascii")
            lines = "\n\t ".join(literal(text))
            out.write(f'\t{{"{path.stem}",\n\t {lines},\n\t {len(text)}}},\n')
        out.write("};\n\nconst u32 shipped_nr = ARRAY_SIZE(shipped_programs);\n")
    # The folder itself too: it changes when a program comes or goes.
    with open(depfile, "w", encoding="utf-8") as out:
        names = " ".join(str(p).replace(" ", "\\ ") for p in [Path(folder), *paths])
        out.write(f"{output}: {names}\n")


main()
