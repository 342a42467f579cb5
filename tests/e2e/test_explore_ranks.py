# SPDX-License-Identifier: MIT
"""septum explore under mpirun: what one process says, by any number of ranks, also if one is killed."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from septum import CHECKING, call

# Root is refused, and more ranks than cores are, unless these say otherwise.
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_btl": "self,vader,tcp",
               "OMPI_MCA_btl_tcp_if_include": "lo"}
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


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid):
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    [rank] = [w.split(b"=")[1] for w in words if w.startswith(b"OMPI_COMM_WORLD_RANK=")]
    return int(rank)


@unittest.skipUnless(shutil.which("mpirun"), "needs mpirun (openmpi-bin)")
class Ranks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.json = Path(folder.name) / "ranks.json"

    def start(self, ranks, *args, options=()):
        run = subprocess.Popen(["mpirun", *options, "-n", str(ranks), str(CHECKING), "explore", *args,
                                "--json", str(self.json)], env=ENVIRONMENT, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        self.addCleanup(run.kill)
        return run

    def finish(self, run, already=""):
        out, err = run.communicate(timeout=600)
        if "without MPI" in err:
            self.assertEqual(run.returncode, 4)
            self.skipTest("built without MPI")
        return already + out, err

    def one_process(self, *args):
        done = call("explore", *args, "--json", "-", program=CHECKING)
        return without_times(done.stdout), done.returncode

    def kill_in_the_middle(self, options, choose):
        """Run LONG by 4 ranks; when the first row is out, kill who @choose says, by rank -> pid."""
        run = self.start(4, *LONG, options=options)
        head = run.stdout.readline()
        if head:
            head += run.stdout.readline()
            ranks = {rank_of(pid): pid for pid in children(run.pid)}
            os.kill(choose(ranks), signal.SIGKILL)
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
            run = self.start(ranks, *BUGGY)
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
        run = self.start(3, "kick-alon")
        _, err = self.finish(run)
        self.assertEqual(run.returncode, 2, err)
        self.assertEqual(err.count("septum: explore: 'kick-alon'"), 1, err)

    def test_status_is_told(self):
        """mpirun --enable-recovery answers 0 to anything: the exit status is told in words."""
        run = self.start(2, *BUGGY, options=["--enable-recovery"])
        _, err = self.finish(run)
        self.assertIn("septum: explore: exit status 1", err)


if __name__ == "__main__":
    unittest.main()
