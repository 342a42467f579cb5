# SPDX-License-Identifier: MIT
"""septum sequence under mpirun: what one process finds, by any number of ranks, also if one is killed."""
import json
import os
import re
import signal
import time
import unittest

from mpirun import RanksCase, ranks_of
from septum import CHECKING, call

# Of seeds in ranges of 65 the last of the first range and the sixth of the fourth fail.
BUGGY = ("--seed", 94, "--ops", 200000, "--bug", "enomem-becomes-one")
GOOD = ("--seed", 7, "--ops", 100001)
# Ranges enough for a rank to be killed in the middle of.
LONG = ("--ops", 400000)


def without_times(text):
    """A run's JSON, but for how long it took."""
    found = json.loads(text)
    del found["seconds"], found["operations_per_second"]
    return found


def without_rate(text):
    """A run's text, but for how long it took."""
    return re.sub(r" in .* a second;", "", text)


class Ranks(RanksCase):
    def one_process(self, *args):
        """By one process of itself: JSON, exit status, and what it prints."""
        done = call("sequence", *args, "--jobs", 1, "--json", "-", program=CHECKING)
        # With JSON on standard output, the rest is on standard error.
        return without_times(done.stdout), done.returncode, without_rate(done.stderr)

    def same_by_any_number(self, args, status):
        expected, alone, text = self.one_process(*args)
        self.assertEqual(alone, status)
        for ranks in (2, 3, 5):
            run = self.start(ranks, "sequence", *args)
            out, err = self.finish(run)
            self.assertEqual(run.returncode, status, err)
            self.assertEqual(without_times(self.json.read_text()), expected)
            told = without_rate(out) + err
            for line in text.splitlines():
                self.assertEqual(told.count(line), 1, f"{line}\n{told}")

    def test_nothing_found(self):
        """JSON, exit status and text are one process's, whatever the number of ranks."""
        self.same_by_any_number(GOOD, 0)

    def test_lowest_seed_wins(self):
        """So are they with a bug: of what fails the lowest seed counts, though another fails sooner."""
        expected, _, _ = self.one_process(*BUGGY)
        self.assertEqual(expected["next_seed"], 158)
        self.assertEqual(expected["failure"]["seed"], 158)
        self.same_by_any_number(BUGGY, 1)

    def kill_one(self, victim, when, *args):
        """Run 4 ranks, kill @victim when the state file says what @when waits for; what is told."""
        state = self.folder / "state"
        run = self.start(4, "sequence", *args, "--state", state, options=["--enable-recovery"])
        while run.poll() is None and not (state.exists() and when(state.read_text())):
            time.sleep(0.01)
        if run.poll() is None:
            os.kill(ranks_of(run)[victim], signal.SIGKILL)
        _, err = self.finish(run)
        self.assertEqual(run.returncode, 0, err)
        expected, status, _ = self.one_process(*args)
        self.assertEqual(without_times(self.json.read_text()), expected)
        self.assertEqual("septum: sequence: exit status" in err, status != 0, err)
        return err, state.read_text()

    def test_rank_killed(self):
        """A rank of four that is killed is told of, and nothing of the result is missing."""
        # When a range is done, all are at work.
        err, state = self.kill_one(2, lambda text: not text.startswith("1 "), *LONG)
        self.assertIn("septum: sequence: rank 2 isn't heard any more", err)
        self.assertEqual(state, "801 0\n")

    def test_finder_killed(self):
        """A rank is killed in the first range, which has the lowest seed that fails: it still wins."""
        _, state = self.kill_one(1, lambda text: True, *BUGGY)
        self.assertEqual(state.split()[0], "158")

    def test_goes_on(self):
        """A campaign that was stopped does the rest, which rank 0 knows alone; the next takes new seeds."""
        state = self.folder / "state"
        state.write_text("40 60000\n")
        for seed in (160, 163):
            run = self.start(3, "sequence", "--ops", 1500, "--state", state)
            out, err = self.finish(run)
            self.assertEqual(run.returncode, 0, err)
            self.assertEqual(state.read_text(), f"{seed} 0\n")
            self.assertIn(f"next seed {seed}", out)

    def test_replay(self):
        """One sequence is done once."""
        run = self.start(3, "sequence", "--replay", ": a.0 accept 0x0 4k; a zap 0x0 1")
        out, err = self.finish(run)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(out.count("2 operations, nothing found"), 1)

    def test_bad_use(self):
        """What is wrong with the command line is told once, by rank 0, and is mpirun's exit status."""
        state = self.folder / "state"
        state.write_text("forty\n")
        for args, told in ((("--op", 5), "septum: sequence: unknown word '--op': did you mean --ops"),
                           (("--ops", 0), "septum: sequence: --ops '0': expected"),
                           (("--replay", ": a.0 acept 0x0 4k"), "septum: sequence: --replay: character 7"),
                           (("--state", state), "expected two numbers")):
            run = self.start(3, "sequence", *args)
            _, err = self.finish(run)
            self.assertEqual(run.returncode, 2, err)
            self.assertEqual(err.count(told), 1, err)

    def test_status_is_told(self):
        """mpirun --enable-recovery answers 0 to anything: the exit status is told in words."""
        run = self.start(2, "sequence", "--bug", "wrong-pfn", options=["--enable-recovery"])
        _, err = self.finish(run)
        self.assertIn("septum: sequence: exit status 1", err)


if __name__ == "__main__":
    unittest.main()
