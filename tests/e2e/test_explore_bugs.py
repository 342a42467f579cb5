# SPDX-License-Identifier: MIT
"""
Every planted bug is found: by the program that the table in docs/verification.md names, as the oracle's
line that it names, with a schedule that fails again with the bug and passes without it.

`python3 tests/e2e/test_explore_bugs.py --table` prints that table with the numbers of this machine.
"""
import json
import re
import sys
import unittest

from septum import CHECKING, ROOT, call

TABLE = ROOT / "docs" / "verification.md"
# bug, program (and what else the command line says), ..., the oracle's line, ...
ROW = re.compile(r"^\| `([\w-]+)` \| `([\w-]+)((?: --[\w-]+(?: [\w=:]+)?)*)` \|[^|]*\|[^|]*\| `([\w-]+)` \|",
                 re.M)


def rows():
    """(bug, program, options, oracle's line) of each row."""
    text = TABLE.read_text()
    text = text[text.index("## Planted bugs"):]
    return [(bug, program, options.split(), line)
            for bug, program, options, line in ROW.findall(text)]


def bugs():
    """Names of the planted bugs, by the command that lists them."""
    return [line.split()[0] for line in call("explore", "--bugs", program=CHECKING).stdout.splitlines()]


def find(bug, program, options):
    """What a search for @bug says: the row of its JSON, the first failure; None: nothing."""
    done = call("explore", program, *options, "--bug", bug, "--jobs", 1, "--json", "-",
                program=CHECKING)
    if done.returncode not in (0, 1):
        raise AssertionError(f"{bug}: exit status {done.returncode}: {done.stderr}")
    [row] = json.loads(done.stdout)["programs"]
    return row, row["failures"][0] if row["failures"] else None


def replay(program, failure, *options):
    """Exit status of the schedule of @failure."""
    inject = ["--inject", failure["inject"]] if failure.get("inject") else []
    return call("explore", program, *inject, "--schedule", failure["schedule"], *options,
                program=CHECKING).returncode


class PlantedBugs(unittest.TestCase):
    def test_all_are_in_the_table(self):
        """The table has every planted bug once, and no other; there are at least 40."""
        names = [row[0] for row in rows()]
        self.assertEqual(sorted(names), sorted(bugs()))
        self.assertGreaterEqual(len(names), 40)

    def test_all_are_found(self):
        """Each is found by its program as its line says, and only the bug makes the schedule fail."""
        for bug, program, options, line in rows():
            with self.subTest(bug=bug):
                _, failure = find(bug, program, options)
                self.assertIsNotNone(failure, f"{bug}: {program} finds nothing")
                self.assertEqual(failure["oracle"], line)
                self.assertEqual(replay(program, failure, "--bug", bug), 1)
                self.assertEqual(replay(program, failure), 0)


def print_table():
    print("| bug | program | executions | seconds | oracle | preemptions |\n|---|---|--:|--:|---|--:|")
    for bug, program, options, _ in rows():
        row, failure = find(bug, program, options)
        words = " ".join([program, *options])
        if not failure:
            print(f"| `{bug}` | `{words}` | | | `nothing` | |", flush=True)
            continue
        how = str(failure["preemptions"]) + (f", {failure['inject']}" if failure.get("inject") else "")
        print(f"| `{bug}` | `{words}` | {failure['execution']:,} | {row['seconds']:.1f} | "
              f"`{failure['oracle']}` | {how} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print_table()
    else:
        unittest.main()
