# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: the two programs, the shipped trace, one call of them."""
import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SEPTUM = ROOT / "build" / "septum"
CHECKING = ROOT / "build-check" / "septum"
TRACE = ROOT / "traces" / "debian12-2vcpu-2g.tsv.zst"


def call(*args, program=SEPTUM, **kwargs):
    """Runs septum with @args in the root folder; returns the finished process."""
    return subprocess.run([str(program), *map(str, args)], cwd=ROOT, capture_output=True,
                          text=True, timeout=300, **kwargs)


def run_json(*args, program=SEPTUM, status=0):
    """A `septum run` whose JSON is wanted; checks the exit status."""
    done = call("run", *args, "--json", "-", program=program)
    if done.returncode != status:
        raise AssertionError(f"exit status {done.returncode}, expected {status}: {done.stderr}")
    return json.loads(done.stdout)
