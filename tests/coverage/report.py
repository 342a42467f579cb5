#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the tests of a coverage build have run: lines, branches, and (S-EPT state, leaf) pairs.

usage: report.py BUILD [--missing] | --self-test
BUILD      a folder with gcc's coverage data, and what tests/coverage/pairs.c wrote in BUILD/pairs
--missing  also where each file has lines and branches that weren't run

Exits 1 when a goal is missed. docs/verification.md says what is counted.
"""
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("src/mmu", "src/tdx", "src/seam", "src/gmem")
LINES_GOAL, BRANCHES_GOAL = 90, 80

# No branch of the product's: a planted bug's condition, and an assertion, which no input trips.
NOT_COUNTED = re.compile(r"\bbug_planted\(|\bassert\(")
# A planted bug that has a name for the rest of its function: conditions on that are its own, too.
NAMED_BUG = re.compile(r"\bbool (\w+) = [^;]*\bbug_planted\(")

# The program that holds the answer of every pair against the rules.
MATRIX = "test_seam_matrix"
# Leaves that take an S-EPT entry, and the guest's accesses, as pairs.c numbers them.
LEAVES = {
    "TDH.MEM.PAGE.ADD": ("host", 2), "TDH.MEM.SEPT.ADD": ("host", 3),
    "TDH.MEM.PAGE.RELOCATE": ("host", 5), "TDH.MEM.PAGE.AUG": ("host", 6),
    "TDH.MEM.RANGE.BLOCK": ("host", 7), "TDH.MEM.RD": ("host", 12), "TDH.MEM.WR": ("host", 14),
    "TDH.MEM.PAGE.DEMOTE": ("host", 15), "TDH.MR.EXTEND": ("host", 16),
    "TDH.MEM.PAGE.PROMOTE": ("host", 23), "TDH.MEM.SEPT.RD": ("host", 25),
    "TDH.MEM.PAGE.REMOVE": ("host", 29), "TDH.MEM.SEPT.REMOVE": ("host", 30),
    "TDH.MEM.RANGE.UNBLOCK": ("host", 39),
    "TDG.MEM.PAGE.ACCEPT": ("guest", 6), "TDG.MEM.PAGE.ATTR.RD": ("guest", 23),
    "TDG.MEM.PAGE.ATTR.WR": ("guest", 24), "guest read": ("guest", 62), "guest write": ("guest", 63),
}
# What always goes through a table to what is below: it can't end at an entry with a table.
THROUGH_TABLES = {"TDH.MEM.PAGE.ADD", "TDH.MEM.PAGE.RELOCATE", "TDH.MEM.RD", "TDH.MEM.WR",
                  "TDH.MR.EXTEND", "TDG.MEM.PAGE.ATTR.RD", "guest read", "guest write"}


# ---- lines and branches ------------------------------------------------------------------------

def lines_not_counted(source):
    """The numbers of the lines whose branches are a planted bug's or an assertion's."""
    found = set()
    names = []
    statement = ""
    for number, line in enumerate(source, 1):
        if line.startswith("}"):
            names = []
        statement = line if statement.rstrip().endswith((";", "{", "}")) else statement + " " + line
        named = NAMED_BUG.search(statement)
        if named and named[1] not in names:
            names.append(named[1])
        if NOT_COUNTED.search(line) or any(re.search(rf"\b{name}\b", line) for name in names):
            found.add(number)
    return found


class Coverage:
    """Of one file: {line: count}, {line: [count a branch]}; objects that share a header add up."""

    def __init__(self):
        self.lines = defaultdict(int)
        self.branches = {}

    def add(self, lines, not_counted):
        # A line comes once a function that it is in; those of one object are put together first.
        branches = defaultdict(list)
        for line in lines:
            number = line["line_number"]
            self.lines[number] += line["count"]
            if line["branches"] and number not in not_counted:
                branches[number] += [branch["count"] for branch in line["branches"]]
        for number, counts in branches.items():
            before = self.branches.get(number)
            if before is None:
                self.branches[number] = counts
            elif len(before) == len(counts):
                self.branches[number] = [a + b for a, b in zip(before, counts)]
            else:
                raise ValueError(f"line {number} has {len(before)} branches here, "
                                 f"{len(counts)} there")

    def line_score(self):
        return sum(c > 0 for c in self.lines.values()), len(self.lines)

    def branch_score(self):
        counts = [c for branches in self.branches.values() for c in branches]
        return sum(c > 0 for c in counts), len(counts)

    def missing(self):
        """'12-15 20' and '31:2/4': lines that weren't run; line:branches run/there."""
        executable = sorted(self.lines)
        runs = []
        for i, number in enumerate(executable):
            if self.lines[number]:
                continue
            if runs and i and runs[-1][1] == executable[i - 1]:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        lines = [f"{a}-{b}" if a != b else str(a) for a, b in runs]
        branches = [f"{n}:{sum(c > 0 for c in counts)}/{len(counts)}"
                    for n, counts in sorted(self.branches.items())
                    if self.lines[n] and not all(counts)]
        return " ".join(lines), " ".join(branches)


def read_coverage(build):
    """{path from the root: Coverage} of the files of FOLDERS, from the library's objects."""
    found = defaultdict(Coverage)
    not_counted = {}
    for notes in sorted((build / "libseptum.a.p").glob("src_*.gcno")):
        data = notes.with_suffix(".gcda")
        gcov = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities",
                               str(data if data.exists() else notes)],
                              cwd=build, capture_output=True, text=True)
        if gcov.returncode:
            # Counters of an object that has been built anew since, most of all.
            sys.exit(f"report.py: gcov: {gcov.stderr.strip()}")
        for file in json.loads(gcov.stdout)["files"]:
            path = (build / file["file"]).resolve()
            # An object of a file that is gone stays in the build folder.
            if not path.is_relative_to(ROOT) or not path.exists():
                continue
            name = str(path.relative_to(ROOT))
            if not name.startswith(tuple(folder + "/" for folder in FOLDERS)):
                continue
            if name not in not_counted:
                not_counted[name] = lines_not_counted(path.read_text().split("\n"))
            found[name].add(file["lines"], not_counted[name])
    return found


def percent(score):
    return 100 * score[0] / score[1] if score[1] else 100


def add(a, b):
    return a[0] + b[0], a[1] + b[1]


def show(name, lines, branches):
    print(f"{name:<34} {percent(lines):6.1f} % {lines[0]:>5}/{lines[1]:<5}"
          f" {percent(branches):6.1f} % {branches[0]:>5}/{branches[1]:<5}")


def report_coverage(coverage, missing):
    """Prints; returns the goals that are missed."""
    missed = []
    print(f"{'':<34} {'lines':>8} {'':>11} {'branches':>9}")
    totals = {}
    for folder in FOLDERS:
        lines = branches = (0, 0)
        for name in sorted(n for n in coverage if n.startswith(folder + "/")):
            show("  " + name, coverage[name].line_score(), coverage[name].branch_score())
            if missing:
                for what, where in zip(("lines", "branches"), coverage[name].missing()):
                    if where:
                        print(f"      {what} not run: {where}")
            lines = add(lines, coverage[name].line_score())
            branches = add(branches, coverage[name].branch_score())
        totals[folder] = lines, branches
    print()
    for folder, (lines, branches) in totals.items():
        show(folder, lines, branches)
        if not lines[1]:
            missed.append(f"{folder}: nothing was measured")
        if percent(lines) < LINES_GOAL:
            missed.append(f"{folder}: {percent(lines):.1f} % of lines, less than {LINES_GOAL} %")
        if percent(branches) < BRANCHES_GOAL:
            missed.append(f"{folder}: {percent(branches):.1f} % of branches, "
                          f"less than {BRANCHES_GOAL} %")
    return missed


# ---- pairs -------------------------------------------------------------------------------------

def states_of(table):
    return re.findall(r"^SEPT_STATE\((\w+),", table, re.M)


def pairs_met(records, states):
    """The (state, leaf) pairs in records, which are lines of pairs.c."""
    by_number = {number: leaf for leaf, number in LEAVES.items()}
    met = set()
    for side, number, how, state in (line.split() for line in records):
        leaf = by_number.get((side, int(number)))
        through = state == "NL_MAPPED" and leaf in THROUGH_TABLES
        if leaf and state in states and (how == "end" or through):
            met.add((state, leaf))
    return met


def report_pairs(folder, states):
    records = {}
    for path in folder.glob("*-*"):  # PROGRAM-PID
        records.setdefault(path.name.rpartition("-")[0], []).extend(path.read_text().splitlines())
    matrix = pairs_met(records.get(MATRIX, []), states)
    everywhere = pairs_met([line for lines in records.values() for line in lines], states)
    wanted = [(state, leaf) for state in states for leaf in LEAVES]
    print(f"\npairs of (S-EPT state, leaf): {len(matrix)}/{len(wanted)} in {MATRIX}, which checks "
          f"every answer; {len(everywhere)} in {len(records)} programs")
    return [f"no test of {leaf} on an entry in {state}"
            for state, leaf in wanted if (state, leaf) not in matrix]


# ---- the command -------------------------------------------------------------------------------

def self_test():
    source = ["{", "if (a && b)", "assert(a);", "if (bug_planted(&bugs, BUG_A))", "x;",
              "const bool early =", "bug_planted(&bugs, BUG_B);", "if (early)", "}", "if (early)"]
    assert lines_not_counted(source) == {3, 4, 7, 8}, lines_not_counted(source)
    not_counted = lines_not_counted(source)

    def line(number, count, *branches):
        return {"line_number": number, "count": count,
                "branches": [{"count": count} for count in branches]}

    c = Coverage()
    c.add([line(1, 2), line(2, 2, 2, 0, 1, 1), line(3, 2, 2, 0), line(4, 2, 0, 2), line(5, 0)],
          not_counted)
    assert c.line_score() == (4, 5) and c.branch_score() == (3, 4)
    assert c.missing() == ("5", "2:3/4"), c.missing()
    c.add([line(1, 0), line(2, 1, 0, 1, 0, 0), line(5, 1)], not_counted)
    assert c.line_score() == (5, 5) and c.branch_score() == (4, 4)
    try:
        c.add([line(2, 1, 0, 1)], not_counted)
        raise AssertionError("branches that don't fit were added up")
    except ValueError:
        pass

    states = states_of("SEPT_STATE(FREE, 0x0E, 0,\n\tIS_FREE)\nSEPT_STATE(NL_MAPPED, 0x00)\n")
    assert states == ["FREE", "NL_MAPPED"]
    assert pairs_met(["host 6 end FREE", "host 6 through NL_MAPPED", "host 2 through NL_MAPPED",
                      "guest 6 end NL_MAPPED", "host 1 end FREE", "host 3 end WHAT"], states) == {
        ("FREE", "TDH.MEM.PAGE.AUG"), ("NL_MAPPED", "TDH.MEM.PAGE.ADD"),
        ("NL_MAPPED", "TDG.MEM.PAGE.ACCEPT")}
    assert percent((9, 10)) == 90 and percent((0, 0)) == 100


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if not 2 <= len(sys.argv) <= 3 or sys.argv[2:] not in ([], ["--missing"]):
        print(__doc__, file=sys.stderr)
        return 2
    build = Path(sys.argv[1]).resolve()
    states = states_of((ROOT / "src/seam/sept_states.def").read_text())
    missed = report_coverage(read_coverage(build), bool(sys.argv[2:]))
    missed += report_pairs(build / "pairs", states)
    for goal in missed:
        print(f"MISSED {goal}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
