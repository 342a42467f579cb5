# SPDX-License-Identifier: MIT
"""septum explore: exit statuses, JSON, replay lines, bad input."""
import json
import re
import shlex
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from septum import CHECKING, ROOT, SEPTUM, call

# Small enough to be tried out in a moment.
SMALL = "kick-alone"
# Of as many threads, so begun after it; they take several seconds.
LONG = ("fault-shared", "teardown-other-td", "fault-private-and-shared")
GOOD = ("machine memory=1G\ntd a vcpus=2 memory=8M\nsetup\n a.0: accept 0x200000 2m\n"
        "thread a.0\n read 0x200000\nthread host\n kick a.0\n")


def explore(*args, program=CHECKING):
    return call("explore", *args, program=program)


def explore_json(*args, program=CHECKING, status=0):
    done = explore(*args, "--json", "-", program=program)
    if done.returncode != status:
        raise AssertionError(f"exit status {done.returncode}, expected {status}: {done.stderr}")
    return json.loads(done.stdout)


class Explore(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, content, name="t.prog"):
        path = Path(self.folder.name) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def refused(self, *args, words=(), program=CHECKING):
        """Refused with exit status 2, in one line that holds all of @words."""
        done = explore(*args, program=program)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_json_of_a_small_program(self):
        """The JSON has every field of the contract, and the search is complete."""
        got = explore_json(SMALL)
        self.assertEqual(got["schema"], "septum.explore/1")
        self.assertGreater(got["executions_per_second"], 0)
        self.assertGreater(got["switches_per_second"], 0)
        [row] = got["programs"]
        self.assertEqual((row["name"], row["threads"], row["complete"], row["failures"]),
                         (SMALL, 2, True, []))
        self.assertGreater(row["executions"], 1)
        self.assertGreaterEqual(row["final_states"], 1)
        self.assertGreater(row["states"], row["final_states"])

    def test_same_twice(self):
        """Executions and states don't depend on when, where, or how many processes there are."""
        rows = [explore_json(SMALL, "kick-two-vcpus", "--runs", 60, "--jobs", jobs)["programs"]
                for jobs in (1, 2)]
        for row in rows:
            for program in row:
                del program["seconds"]
        self.assertEqual(rows[0], rows[1])

    def test_file(self):
        """A file is searched as a shipped program is, and named after the file."""
        got = explore_json(self.file(GOOD, "mine.prog"))
        self.assertEqual(got["programs"][0]["name"], "mine")

    def test_set_of_all(self):
        """`all` is at least 40 programs, in order, and two processes at a time don't mix them."""
        names = [p["name"] for p in explore_json("all", "--runs", 1)["programs"]]
        self.assertGreaterEqual(len(names), 40)
        self.assertEqual(names, sorted(names))

    def test_runs_limits(self):
        """--runs ends a search that isn't complete then."""
        [row] = explore_json("punch-against-fault", "--runs", 7)["programs"]
        self.assertEqual((row["executions"], row["complete"]), (7, False))

    def test_bound_0_has_no_more_than_1(self):
        """More preemptions are never fewer executions."""
        counts = [explore_json(SMALL, "--bound", b)["programs"][0]["executions"] for b in (0, 1, 2)]
        self.assertEqual(counts, sorted(counts))

    def test_bugs_listed(self):
        """--bugs has a name first on each line; a build without them says so."""
        done = explore("--bugs")
        self.assertEqual(done.returncode, 0)
        names = [line.split()[0] for line in done.stdout.splitlines()]
        self.assertIn("skip-track", names)
        self.assertEqual(len(names), len(set(names)))
        for line in done.stdout.splitlines():
            self.assertRegex(line, r"^[a-z0-9-]+ +\S")
        listed = json.loads(explore("--bugs", "--json", "-").stdout)
        self.assertEqual([bug["name"] for bug in listed["bugs"]], names)
        self.refused("--bugs", SMALL, words=("--bugs", SMALL, "expected"))
        done = explore("--bugs", program=SEPTUM)
        self.assertEqual((done.returncode, done.stdout), (4, ""))
        self.assertIn("./dev build check", done.stderr)

    def test_bug_is_found_and_replayed(self):
        """A planted bug is exit status 1; its line fails again, and doesn't without the bug."""
        done = explore("punch-against-access", "--bug", "skip-kick")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("FAILED punch-against-access", done.stdout)
        [line] = re.findall(r"^replay: septum explore (.*)$", done.stdout, re.M)
        words = line.split()
        again = explore(*words)
        self.assertEqual(again.returncode, 1, again.stdout + again.stderr)
        at = words.index("--bug")
        without = explore(*words[:at], *words[at + 2:])
        self.assertNotEqual(without.returncode, 1, without.stdout + without.stderr)

    def test_bug_in_json(self):
        """A failure's row has oracle and schedule, which --schedule takes."""
        got = explore_json("punch-against-access", "--bug", "skip-kick", status=1)
        [row] = got["programs"]
        self.assertFalse(row["complete"])
        [failure] = row["failures"]
        self.assertTrue(failure["oracle"])
        done = explore("punch-against-access", "--bug", "skip-kick", "--schedule",
                       failure["schedule"])
        self.assertEqual(done.returncode, 1)
        self.assertIn(failure["oracle"], done.stdout)

    def test_nothing_but_the_table_when_piped(self):
        """Without a terminal there is no progress."""
        self.assertEqual(explore(SMALL).stderr, "")

    def test_bad_bugs(self):
        """An unknown bug suggests the nearest; a build without bugs says which has them."""
        self.refused(SMALL, "--bug", "skip-trak", words=("skip-trak", "did you mean skip-track"))
        self.refused(SMALL, "--bug", "skip-track", words=("checking build",), program=SEPTUM)

    def test_bad_programs(self):
        """Unknown names suggest the nearest; errors in a file name line, word and what is expected."""
        self.refused("kick-alon", words=("kick-alon", "did you mean 'kick-alone'"))
        self.refused("/nonexistent/x.prog", words=("/nonexistent/x.prog",))
        self.refused(words=("expected a program",))
        path = self.file(GOOD.replace("kick a.0", "kik a.0"))
        self.refused(path, words=(f"{path}:8:", "'kik'", "'kick'"))
        self.refused(self.file(b"\x00\xff\xfe"), words=("t.prog:1:",))
        self.refused(self.file(""), words=("t.prog:",))
        self.refused(self.folder.name, words=(self.folder.name,))

    def test_bad_values(self):
        """Bad values name the option, what was found and what was expected."""
        for args in (("--bound", "x"), ("--bound", "65"), ("--runs", "0"), ("--seed", "-1"),
                     ("--jobs", "0"), ("--schedule", "2@"), ("--schedule", "3@5,2@5"),
                     ("--inject", "alloc"), ("--inject", "seamcall=1"), ("--json",),
                     ("--inject", "alloc=1,alloc=2"), ("--inject", "kick=1", "--inject", "all"),
                     ("--inject", "all", "--pct"), ("--bound", "1", "--pct")):
            with self.subTest(args=args):
                self.refused(SMALL, *args, words=("explore", args[0], "expected"))
        self.refused(SMALL, "--bund", "1", words=("--bund", "did you mean --bound"))
        self.refused("all", "--schedule", "-", words=("--schedule", "one program"))
        self.refused(SMALL, "--inject", "seamcall=3:TDX_OPERAND_BUSSY",
                     words=("'TDX_OPERAND_BUSSY'", "did you mean TDX_OPERAND_BUSY"))
        self.refused(SMALL, "--inject", "alloc=1", words=("checking build",), program=SEPTUM)

    def test_schedule_that_doesnt_fit(self):
        """A schedule of another program says which choice, who was wanted and who could go on."""
        self.refused(SMALL, "--schedule", "9@10", words=("choice 1", "9@10", "(9)", "a.0"))
        self.refused(SMALL, "--schedule", "2@1000000", words=("choice 1", "had ended"))

    def test_replay_of_a_good_schedule(self):
        """The default schedule, replayed, finds nothing and draws its lanes."""
        done = explore(SMALL, "--schedule", "-")
        self.assertEqual(done.returncode, 0)
        self.assertIn("others", done.stdout)

    def test_hunt(self):
        """A bug is looked for in all programs, a little in each first, until one shows it."""
        for bug in ("skip-kick", "enomem-becomes-one"):
            found = explore_json("all", "--bug", bug, status=1)
            [row] = found["programs"]
            [failure] = row["failures"]
            self.assertLess(row["executions"], 1000)
            inject = ["--inject", failure["inject"]] if "inject" in failure else []
            replay = (row["name"], *inject, "--schedule", failure["schedule"])
            self.assertEqual(explore(*replay, "--bug", bug).returncode, 1)
            self.assertEqual(explore(*replay).returncode, 0)

    def test_hunt_for_nothing(self):
        """Where no program shows it each has a row of a whole search, as without a bug."""
        got = explore_json(SMALL, "kick-in-guest", "--bug", "put-races-get")
        self.assertEqual([row["name"] for row in got["programs"]], [SMALL, "kick-in-guest"])

    def test_injection_everywhere(self):
        """
        Every injection into every program, by the default schedule; and by random ones where a TD
        that dies has had a vCPU inside whose memory was taken away at once.
        """
        self.assertEqual(call("explore", "all", "--inject", "all", program=CHECKING).returncode, 0)
        done = call("explore", "punch-shared", "zap-against-access", "--inject", "all", "--runs", 30,
                    program=CHECKING)
        self.assertEqual(done.returncode, 0, done.stdout)

    def lanes(self, *args, status):
        """The lines of the picture as (decision, column, text), after its header."""
        done = explore(*args)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        lines = done.stdout.splitlines()
        [at] = [i for i, line in enumerate(lines) if line.startswith("  at  ")]
        header, rows = lines[at], []
        for line in lines[at + 1:lines.index("", at)]:
            text = line[4:].lstrip()
            rows.append((line[:4].strip(), line.index(text, 4), text))
        return header, rows

    def test_lanes_of_main(self):
        """What `finally` does stands under "others", and the picture ends with it."""
        header, rows = self.lanes("kick-against-enter", "--schedule", "-", status=0)
        others = header.index("others")
        for name in ("2 a.0", "3 host"):
            self.assertIn(name, header)
        last = max(i for i, row in enumerate(rows) if row[1] < others)
        self.assertEqual(rows[last][2], "] split a 0x200000 2M")
        texts = [text for _, _, text in rows[last + 1:]]
        self.assertTrue(texts and all(text.startswith("main: ") for text in texts), texts)
        self.assertTrue(any("TDG.VP.VMCALL" in text for text in texts), texts)
        self.assertFalse(any("RECLAIM" in text for text in texts), texts)

    def test_lane_of_a_failure(self):
        """The step that fails stands in its thread's lane, at its decision, with its operation."""
        searched = explore_json("punch-against-access", "--bug", "skip-kick", status=1)
        schedule = searched["programs"][0]["failures"][0]["schedule"]
        header, rows = self.lanes("punch-against-access", "--bug", "skip-kick", "--schedule",
                                  schedule, status=1)
        [(decision, column, text)] = [row for row in rows if row[2].startswith("! ")]
        self.assertEqual((column, text), (header.index("2 a.0"), "! in read 0x201000"))
        self.assertGreater(int(decision), int(schedule.rpartition("@")[2]))
        self.assertIn("stale-translation", rows[-1][2])

    def test_replay_line_is_the_shells(self):
        """A file of any name is replayed by what the line says, word for word."""
        path = Path(self.folder.name) / "my dir" / "it's p.prog"
        path.parent.mkdir()
        path.write_text((ROOT / "programs/punch-against-access.prog").read_text())
        done = explore(path, "--bug", "skip-kick")
        [line] = re.findall(r"^replay: septum (explore .*)$", done.stdout, re.M)
        self.assertEqual(shlex.split(line)[1], str(path))
        self.assertEqual(call(*shlex.split(line), program=CHECKING).returncode, 1)

    def test_injection(self):
        """Every n that the build can is tried, nothing is found, and that is never called complete."""
        for program in (CHECKING, SEPTUM):
            [row] = explore_json(SMALL, "--inject", "all", program=program)["programs"]
            self.assertEqual((row["complete"], row["failures"]), (False, []))
            self.assertGreater(row["executions"], 3)

    def test_injection_that_never_happens(self):
        """An n that no execution reaches is bad input, as a schedule that doesn't fit."""
        for what, word in (("alloc=99999", "allocations"), ("kick=99", "kicks"),
                           ("seamcall=999:TDX_OPERAND_BUSY", "SEAMCALLs"),
                           ("interrupt=9999", "TDCALLs")):
            for schedule in ((), ("--schedule", "-")):
                self.refused("punch-against-access", "--runs", 3, "--inject", what, *schedule,
                             words=(what.split(":")[0], "never reached", word))

    def test_injection_by_name(self):
        """A status's name is its number; the JSON says what was injected."""
        rows = []
        for status in ("TDX_OPERAND_BUSY", "0x8000020000000000"):
            what = f"seamcall=2:{status}"
            got = explore_json("punch-against-access", "--runs", 20, "--inject", what)
            self.assertEqual(got["inject"], what)
            [row] = got["programs"]
            del row["seconds"]
            rows.append(row)
        self.assertEqual(rows[0], rows[1])

    def test_interrupted(self):
        """A signal ends the search; what is there by then is told, also in JSON."""
        for number in (signal.SIGINT, signal.SIGTERM):
            path = Path(self.folder.name) / "out.json"
            with subprocess.Popen([CHECKING, "explore", SMALL, *LONG, "--jobs", "1", "--json", path],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True) as process:
                process.stdout.readline()
                first = process.stdout.readline()
                process.send_signal(number)
                # communicate() would pass over lines that have come with those above.
                rest = process.stdout.read()
                _, complaints = process.communicate(timeout=60)
            self.assertEqual((process.returncode, complaints), (-number, ""))
            self.assertEqual(first.split()[0], SMALL)
            self.assertRegex(rest, r"(?m)^interrupted: [1-9]\d* of \d+ programs, ")
            got = json.loads(path.read_text())
            self.assertTrue(got["interrupted"])
            self.assertEqual(got["programs"][0]["name"], SMALL)


if __name__ == "__main__":
    unittest.main()
