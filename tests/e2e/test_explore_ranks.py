# SPDX-License-Identifier: MIT
"""septum explore under mpirun: what one process says, by any number of ranks, also if one is killed."""
import json
import os
import re
import signal
import unittest

from mpirun import RanksCase, children, ranks_of
from septum import CHECKING, call

BUGGY = ("punch-against-access", "kick-alone", "convert-and-read", "--bug", "skip-kick")
# Programs enough for a rank to be killed in the middle of.
LONG = ("all", "--runs", "150")


def without_times(text):
    """A run's JSON, but for how long it took."""
    found = json.loads(text)
    for row in [found] + found["programs"]:
        for name in [name for name in row if "second" in name]:
            del row[name]
    return found


def lanes(text):
    """A run's text, but for how long it took."""
    return re.sub(r" +\d+\.\d+|\d+ (executions|decisions|switches)/s", "", text)


class Ranks(RanksCase):
    def one_process(self, *args):
        done = call("explore", *args, "--json", "-", program=CHECKING)
        return without_times(done.stdout), done.returncode

    def kill_in_the_middle(self, options, choose):
        """Run LONG by 4 ranks; when the first row is out, kill who @choose says, by rank -> pid."""
        run = self.start(4, "explore", *LONG, options=options)
        head = run.stdout.readline()
        if head:
            head += run.stdout.readline()
            os.kill(choose(ranks_of(run)), signal.SIGKILL)
        # communicate() would pass over lines that have come with those above.
        head += run.stdout.read()
        out, err = self.finish(run, head)
        self.assertEqual(run.returncode, 0, err)
        expected, status = self.one_process(*LONG)
        self.assertEqual(status, 0)
        self.assertEqual(without_times(self.json.read_text()), expected)
        self.assertGreater(len(out.splitlines()), len(expected["programs"]))
        return err

    def test_any_number(self):
        """Text, JSON and exit status are one process's, whatever the number of ranks."""
        expected, status = self.one_process(*BUGGY)
        self.assertEqual(status, 1)
        text = call("explore", *BUGGY, program=CHECKING).stdout
        for ranks in (2, 3, 5):
            run = self.start(ranks, "explore", *BUGGY)
            out, err = self.finish(run)
            self.assertEqual(run.returncode, 1, err)
            self.assertEqual(without_times(self.json.read_text()), expected)
            self.assertEqual(lanes(out), lanes(text))

    def test_rank_killed(self):
        """A rank of four that is killed is told of, and nothing of the result is missing."""
        err = self.kill_in_the_middle(["--enable-recovery"], lambda ranks: ranks[2])
        self.assertIn("septum: explore: rank 2 isn't heard any more", err)

    def test_search_killed(self):
        """A search that somebody kills is made again; mpirun needs no option for that."""
        def search_of_one(ranks):
            while True:
                for rank in (1, 2, 3):
                    for pid in children(ranks[rank]):
                        return pid
        err = self.kill_in_the_middle([], search_of_one)
        self.assertNotIn("isn't heard", err)

    def test_bad_use(self):
        """What is wrong with the command line is told once, by rank 0, and is mpirun's exit status."""
        run = self.start(3, "explore", "kick-alon")
        _, err = self.finish(run)
        self.assertEqual(run.returncode, 2, err)
        self.assertEqual(err.count("septum: explore: 'kick-alon'"), 1, err)

    def test_status_is_told(self):
        """mpirun --enable-recovery answers 0 to anything: the exit status is told in words."""
        run = self.start(2, "explore", *BUGGY, options=["--enable-recovery"])
        _, err = self.finish(run)
        self.assertIn("septum: explore: exit status 1", err)


if __name__ == "__main__":
    unittest.main()
