# SPDX-License-Identifier: MIT
"""septum explore: exit statuses, JSON, replay lines, bad input."""
import json
import re
import tempfile
import unittest
from pathlib import Path

from septum import CHECKING, SEPTUM, call

# Small enough to be tried out in a moment.
SMALL = "kick-alone"
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
        self.assertGreaterEqual(row["states"], 1)

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
                     ("--inject", "alloc"), ("--inject", "seamcall=1"), ("--json",)):
            with self.subTest(args=args):
                self.refused(SMALL, *args, words=("explore", args[0], "expected"))
        self.refused(SMALL, "--bund", "1", words=("--bund", "did you mean --bound"))
        self.refused("all", "--schedule", "-", words=("--schedule", "one program"))

    def test_schedule_that_doesnt_fit(self):
        """A schedule of another program says which choice, who was wanted and who could go on."""
        self.refused(SMALL, "--schedule", "9@10", words=("choice 1", "9@10", "(9)", "a.0"))
        self.refused(SMALL, "--schedule", "2@1000000", words=("choice 1", "had ended"))

    def test_replay_of_a_good_schedule(self):
        """The default schedule, replayed, finds nothing and draws its lanes."""
        done = explore(SMALL, "--schedule", "-")
        self.assertEqual(done.returncode, 0)
        self.assertIn("others", done.stdout)

    def test_injection_everywhere(self):
        """
        Every injection into every program, by the default schedule; and by random ones where a TD
        that dies has had a vCPU inside whose memory was taken away at once.
        """
        self.assertEqual(call("explore", "all", "--inject", "all", program=CHECKING).returncode, 0)
        done = call("explore", "punch-shared", "zap-against-access", "--inject", "all", "--runs", 30,
                    program=CHECKING)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_injection(self):
        """Every n of every kind of injection is tried, and nothing is found."""
        [row] = explore_json(SMALL, "--inject", "all")["programs"]
        self.assertEqual((row["complete"], row["failures"]), (True, []))
        self.assertGreater(row["executions"], 3)


if __name__ == "__main__":
    unittest.main()
