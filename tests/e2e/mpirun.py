# SPDX-License-Identifier: MIT
"""What tests of septum under mpirun share: starting it, ending it, who is which rank."""
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from septum import CHECKING

# Root is refused, and more ranks than cores are, unless these say otherwise.
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_btl": "self,vader,tcp",
               "OMPI_MCA_btl_tcp_if_include": "lo"}


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid):
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    [rank] = [w.split(b"=")[1] for w in words if w.startswith(b"OMPI_COMM_WORLD_RANK=")]
    return int(rank)


def ranks_of(run):
    """Processes of a run, by rank."""
    return {rank_of(pid): pid for pid in children(run.pid)}


@unittest.skipUnless(shutil.which("mpirun"), "needs mpirun (openmpi-bin)")
class RanksCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.json = self.folder / "ranks.json"

    def start(self, ranks, command, *args, options=()):
        run = subprocess.Popen(["mpirun", *options, "-n", str(ranks), str(CHECKING), command,
                                *map(str, args), "--json", str(self.json)], env=ENVIRONMENT,
                               text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        self.addCleanup(run.kill)
        return run

    def finish(self, run, already=""):
        out, err = run.communicate(timeout=600)
        if "without MPI" in err:
            self.assertEqual(run.returncode, 4)
            self.skipTest("built without MPI")
        return already + out, err
