# SPDX-License-Identifier: MIT
"""
What the end-to-end tests share: the two programs, the shipped trace, one call of them.

Every run whose JSON a test looks at goes through run_json(), which records it: the stream of events
must hold the very calls, exits and accepts that the JSON counts, and must replay without a difference.
"""
import collections
import json
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SEPTUM = ROOT / "build" / "septum"
CHECKING = ROOT / "build-check" / "septum"
TRACE = ROOT / "traces" / "debian12-2vcpu-2g.tsv.zst"


def call(*args, program=SEPTUM, **kwargs):
    """Runs septum with @args in the root folder; returns the finished process."""
    return subprocess.run([str(program), *map(str, args)], cwd=ROOT, capture_output=True,
                          text=True, timeout=300, **kwargs)


# ---- streams of events ---------------------------------------------------------------------------
# A call: who made it, the leaf, the last digit of RCX (where a page's size is), the status's name.
MADE = re.compile(rb"^(call|guest) [^T\n]*(TD[HG]\.[A-Z.]+)(?: rcx=0x[0-9a-f]*([0-9a-f])\b)?"
                  rb"[^>\n]*-> (\w+)", re.M)
# A TD exit: status, reason, the last digit of RDX (what kind of violation), R11 (which hypercall).
EXIT = re.compile(rb"^exit [^>\n]*-> (\w+)(?:\|0x(\w+))?(?: rcx=\w+)?(?: rdx=0x[0-9a-f]*([0-9a-f])\b)?"
                  rb"(?: r8=\w+)?(?: r10=\w+)?(?: r11=0x(\w+))?", re.M)
BUSY_STATUS = (b"TDX_OPERAND_BUSY", b"TDX_PREVIOUS_TLB_EPOCH_BUSY", b"TDX_SYS_BUSY")
GOOD_STATUS = (b"TDX_SUCCESS", b"TDX_PAGE_ALREADY_FREE", b"TDX_NO_HKID_READY_TO_WBCACHE",
               b"TDX_NON_RECOVERABLE_VCPU")
EXIT_EPT_VIOLATION, EXIT_TDCALL = b"30", b"4d"
VIOLATION_BY_ACCEPT = b"1"
MAP_GPA = b"10001"


def bytes_of(path):
    """The whole stream, unpacked."""
    if path.suffix == ".zst":
        return subprocess.run(["zstdcat", str(path)], capture_output=True, check=True).stdout
    return path.read_bytes()


def outcome_of(status):
    """As the JSON counts it: ok, busy (class 2 of the errors) or errors, by the status's name."""
    if status in BUSY_STATUS:
        return "busy"
    return "ok" if status in GOOD_STATUS else "errors"


def counts_of(stream):
    """What a stream tells, in the JSON's words: {"seamcalls", "exits", "guest"}."""
    leaves = collections.defaultdict(lambda: dict(calls=0, ok=0, busy=0, errors=0))
    exits = dict(ept_violation=0, accept_violation=0, map_gpa=0, total=0)
    guest = dict(accepts_4k=0, accepts_2m=0, size_mismatches=0)

    def count_call(leaf, status, n):
        leaves[leaf]["calls"] += n
        leaves[leaf][outcome_of(status)] += n

    # Kinds of lines first, since there are few of them: a stream has up to a million lines.
    for (kind, leaf, size, status), n in collections.Counter(MADE.findall(stream)).items():
        if kind == b"call":
            count_call(leaf.decode(), status, n)
        elif leaf == b"TDG.MEM.PAGE.ACCEPT" and status == b"TDX_SUCCESS":
            guest["accepts_2m" if size == b"1" else "accepts_4k"] += n
        elif leaf == b"TDG.MEM.PAGE.ACCEPT" and status == b"TDX_PAGE_SIZE_MISMATCH":
            guest["size_mismatches"] += n
    for (status, reason, violation, call), n in collections.Counter(EXIT.findall(stream)).items():
        count_call("TDH.VP.ENTER", status, n)
        exits["total"] += n if status == b"TDX_SUCCESS" else 0
        if reason == EXIT_EPT_VIOLATION:
            exits["ept_violation"] += n
            exits["accept_violation"] += n if violation == VIOLATION_BY_ACCEPT else 0
        elif reason == EXIT_TDCALL and call == MAP_GPA:
            exits["map_gpa"] += n
    return dict(seamcalls=dict(leaves), exits=exits, guest=guest)


def check_counts(stream, run):
    """Holds a stream against the JSON of the run that wrote it."""
    for section, counted in counts_of(stream).items():
        told = run[section]
        if section == "guest":
            told = {name: told[name] for name in counted}
        if counted != told:
            differ = {name: (counted.get(name), told.get(name))
                      for name in {*counted, *told} if counted.get(name) != told.get(name)}
            raise AssertionError(f"{section}: (in the stream, in the JSON) are {differ}")


def check_status(done, status):
    if done.returncode != status:
        raise AssertionError(f"exit status {done.returncode}, expected {status}: "
                             f"{done.stdout[-2000:]}{done.stderr}")


def replay(path, program=SEPTUM, status=0):
    """`septum seamcall --replay` of a stream; returns its JSON."""
    done = call("seamcall", "--replay", path, "--json", "-", program=program)
    check_status(done, status)
    return json.loads(done.stdout)


def record(path, *args, program=SEPTUM, status=0):
    """A `septum run` with its stream at @path; returns the run's JSON."""
    done = call("run", *args, "--events", path, "--json", "-", program=program)
    check_status(done, status)
    return json.loads(done.stdout)


def run_json(*args, program=SEPTUM, status=0, recorded=True):
    """A `septum run` whose JSON is wanted; checks the exit status, and the stream of its events."""
    if not recorded:
        done = call("run", *args, "--json", "-", program=program)
        check_status(done, status)
        return json.loads(done.stdout)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.txt"
        run = record(path, *args, program=program, status=status)
        check_counts(bytes_of(path), run)
        if replay(path, program)["differs"]:
            raise AssertionError("the stream of the run replays with a difference")
    return run
