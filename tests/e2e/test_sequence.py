# SPDX-License-Identifier: MIT
"""septum sequence: exit statuses, JSON, replay lines, campaigns that go on, bad input."""
import json
import re
import tempfile
import unittest
from pathlib import Path

from septum import CHECKING, SEPTUM, call


def sequence(*args, program=CHECKING):
    return call("sequence", *args, program=program)


class Sequence(unittest.TestCase):
    def test_nothing_found(self):
        """Both builds do what was asked for, find nothing, and say so in JSON."""
        for program in (SEPTUM, CHECKING):
            done = sequence("--ops", 5000, "--seed", 7, "--json", "-", program=program)
            self.assertEqual(done.returncode, 0, done.stderr)
            got = json.loads(done.stdout)
            self.assertEqual((got["schema"], got["operations"], got["next_seed"]),
                             ("septum.sequence/1", 5000, 17))
            self.assertNotIn("failure", got)

    def test_bug_is_found_and_replays(self):
        """The printed line fails with the bug, and passes without it."""
        done = sequence("--bug", "over-zap", "--json", "-")
        self.assertEqual(done.returncode, 1, done.stderr)
        failure = json.loads(done.stdout)["failure"]
        [line] = re.findall(r"^reproduce: septum sequence --bug over-zap --replay '(.*)'$",
                            done.stderr, re.M)
        self.assertEqual(line, failure["sequence"])
        self.assertLessEqual(failure["operations"], 4)
        again = sequence("--bug", "over-zap", "--replay", line)
        self.assertEqual((again.returncode, len(again.stderr.splitlines())), (1, 1), again.stderr)
        self.assertEqual(sequence("--replay", line).returncode, 0)

    def test_same_by_any_number_of_processes(self):
        """What fails first, its smallest form and all counts don't depend on the processes."""
        # In the second, seed 19 fails in its 9900th operation, the one after it in its 56th.
        for args in (("--bug", "shared-not-zeroed", "--ops", 500),
                     ("--bug", "over-zap", "--seed", 19, "--ops", 50000, "--length", 10000)):
            found = []
            for jobs in (1, 2, 3):
                done = sequence(*args, "--jobs", jobs, "--json", "-")
                self.assertEqual(done.returncode, 1, done.stderr)
                found.append(json.loads(done.stdout))
                del found[-1]["seconds"], found[-1]["operations_per_second"]
            self.assertEqual(found[0], found[1])
            self.assertEqual(found[0], found[2])

    def test_goes_on(self):
        """A campaign that was stopped does the rest; the next one takes new seeds."""
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state"
            state.write_text("40 1000\n")
            for seed in (42, 44):
                done = sequence("--ops", 1000, "--state", state)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("1000 operations", done.stdout)
                self.assertEqual(state.read_text(), f"{seed} 0\n")

    def test_state_that_cant_be_kept(self):
        """A state file that can't be written is told before the work, not lost after it."""
        done = sequence("--ops", 1000, "--state", "/nonexistent/state")
        self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (4, "", 1))
        self.assertIn("/nonexistent/state", done.stderr)

    def test_seed_against_state(self):
        """A --seed that the state file contradicts is refused, and leaves the file alone."""
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state"
            state.write_text("40 1000\n")
            done = sequence("--ops", 1000, "--state", state, "--seed", 9)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1))
            self.assertIn("seed 40", done.stderr)
            self.assertEqual(state.read_text(), "40 1000\n")
            self.assertEqual(sequence("--state", state, "--seed", 40).returncode, 0)
            self.assertEqual(state.read_text(), "42 0\n")
            self.assertEqual([path.name for path in Path(folder).iterdir()], ["state"])

    def test_bad_input(self):
        """Exit status 2 and one line that says what, where and what was expected."""
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state"
            state.write_text("forty\n")
            for args, words in ((("--ops", "0"), ("--ops", "'0'", "expected")),
                                (("--op", "5"), ("--op", "did you mean --ops")),
                                (("--jobs",), ("--jobs", "expected a value")),
                                (("--bug", "over-sap"), ("over-sap", "did you mean over-zap")),
                                (("--replay", ": a.0 acept 0x0 4k"), ("character 7", "acept")),
                                (("--state", state), ("expected two numbers",))):
                done = sequence(*args)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                for word in words:
                    self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
