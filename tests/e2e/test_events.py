# SPDX-License-Identifier: MIT
"""`septum run --events` and `septum seamcall --replay`: what was recorded answers the same again."""
import collections
import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from septum import CHECKING, SEPTUM, TRACE, call

BUSY = re.compile(r"BUSY")
# Gives a 16M range back thirty times while the guest runs.
DISCARDS = [word for i in range(1, 31) for word in ("--discard", f"0x6400000:16M@{i * 20000}")]


def lines_of(path):
    if path.suffix == ".zst":
        return subprocess.run(["zstdcat", str(path)], capture_output=True, text=True,
                              check=True).stdout.splitlines()
    return path.read_text().splitlines()


def leaf_of(line):
    """The name of the leaf that a line calls; an exit is the end of its TDH.VP.ENTER."""
    return next(word for word in line.split() if word.startswith(("TDH.", "TDG.")))


def outcome_of(answer):
    """As the JSON counts it: ok, busy (class 2 of the errors) or errors, by the status's name."""
    status = answer.split()[0].split("|")[0]
    if status in ("TDX_OPERAND_BUSY", "TDX_PREVIOUS_TLB_EPOCH_BUSY", "TDX_SYS_BUSY"):
        return "busy"
    good = ("TDX_SUCCESS", "TDX_PAGE_ALREADY_FREE", "TDX_NO_HKID_READY_TO_WBCACHE",
            "TDX_NON_RECOVERABLE_VCPU")
    return "ok" if status in good else "errors"


def counts_of(lines):
    """Calls of each host leaf in a stream: {leaf: {calls, ok, busy, errors}}."""
    counts = collections.defaultdict(lambda: dict(calls=0, ok=0, busy=0, errors=0))
    for line in lines:
        kind = line.split(" ", 1)[0]
        if kind not in ("call", "exit"):
            continue
        row = counts["TDH.VP.ENTER" if kind == "exit" else leaf_of(line)]
        row["calls"] += 1
        row[outcome_of(line.split(" -> ")[1])] += 1
    return dict(counts)


class Events(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def record(self, *args, name="events.txt", program=SEPTUM, trace=TRACE, status=0):
        """A run with --events; returns the stream's path and the run's JSON."""
        path, out = self.folder / name, self.folder / "run.json"
        done = call("run", trace, *args, "--events", path, "--json", out, program=program)
        self.assertEqual(done.returncode, status, done.stderr)
        return path, json.loads(out.read_text())

    def replay(self, path, program=SEPTUM, status=0):
        done = call("seamcall", "--replay", path, "--json", "-", program=program)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def check_same(self, *args, **kwargs):
        """Records, replays, and compares the stream's counts with the run's; returns the lines."""
        path, run = self.record(*args, **kwargs)
        again = self.replay(path, kwargs.get("program", SEPTUM))
        lines = lines_of(path)
        self.assertFalse(again["differs"])
        self.assertEqual(counts_of(lines), run["seamcalls"])
        guest = [line for line in lines if line.startswith("guest ")]
        contended = sum(1 for line in lines if BUSY.search(line.split(" -> ")[-1])
                        and (" overlap=" in line or line.startswith("guest ")))
        self.assertEqual(again["contended"], contended)
        calls = sum(row["calls"] for row in run["seamcalls"].values())
        self.assertEqual(again["seamcalls"] + again["tdcalls"] + contended, calls + len(guest))
        self.assertEqual(again["lines"], len(lines) - 1)
        accepts = sum(1 for line in guest if leaf_of(line) == "TDG.MEM.PAGE.ACCEPT"
                      and line.endswith("-> TDX_SUCCESS"))
        self.assertEqual(accepts, run["guest"]["accepts_4k"] + run["guest"]["accepts_2m"])
        return lines

    def short_trace(self, events, vcpus=2):
        """The first events of the shipped trace, all on vCPU 0 if @vcpus is 1."""
        path = self.folder / "short.tsv"
        text = subprocess.run(["zstdcat", str(TRACE)], capture_output=True, text=True,
                              check=True).stdout
        with open(path, "w") as out:
            for line in text.splitlines()[:events]:
                delta, vcpu, access, gfn = line.split("\t")
                out.write("\t".join((delta, vcpu if vcpus > 1 else "0", access, gfn)) + "\n")
        return path

    def test_2m(self):
        """A run at 2M: every SEAMCALL from SYS.INIT on, and all answers again."""
        lines = self.check_same()
        self.assertEqual(lines[0], "septum-events 1")
        self.assertIn("profile=1.5.28 dpamt=on hkid-start=46", lines[1])
        self.assertRegex(lines[2], r"^call lp=\d+ TDH\.SYS\.INIT -> TDX_SUCCESS$")
        self.assertEqual(lines[-1], f"end {len(lines) - 1}")

    def test_4k(self):
        """A whole run at 4K, 1.2 million lines, compressed."""
        lines = self.check_same("--pages", "4k", name="events.zst")
        self.assertGreater(len(lines), 1200000)

    def test_discard(self):
        """BLOCK, TRACK and REMOVE among vCPUs that come and go, at both sizes."""
        for pages in ("2m", "4k"):
            with self.subTest(pages=pages):
                lines = self.check_same("--pages", pages, *DISCARDS)
                self.assertTrue(any("TDH.MEM.TRACK" in line for line in lines))
                self.assertTrue(any(line.startswith("exit ") and " interrupt" in line
                                    for line in lines))

    def test_touch(self):
        """A guest that gets #VEs, at both sizes."""
        for pages in ("2m", "4k"):
            with self.subTest(pages=pages):
                lines = self.check_same("--pages", pages, "--accept", "touch", *DISCARDS[:20])
                self.assertTrue(any(line.startswith("ve ") for line in lines))

    def test_other_policies(self):
        """Other modules, static PAMT, more vCPUs, an accept level that doesn't fit."""
        short = self.short_trace(60000)
        for args in (("--module", "1.5.05", "--accept-level", "4k"), ("--module", "next"),
                     ("--dpamt", "off"), ("--accept", "eager", "--vcpus", "6"),
                     ("--pages", "4k", "--accept-level", "2m")):
            with self.subTest(args=args):
                self.check_same(*args, trace=short)

    def test_single_vcpu(self):
        """With one vCPU no call meets another, so that none is contended."""
        lines = self.check_same("--pages", "4k", trace=self.short_trace(20000, vcpus=1))
        self.assertFalse([line for line in lines if " overlap=" in line])

    def test_planted_bugs(self):
        """The stream of a run that goes wrong replays, in the build that has the bug."""
        for bug in ("skip-kick", "skip-track", "key-mixup"):
            with self.subTest(bug=bug):
                path, _ = self.record("--bug", bug, program=CHECKING, status=1)
                self.assertFalse(self.replay(path, program=CHECKING)["differs"])
                done = call("seamcall", "--replay", path)
                self.assertEqual(done.returncode, 2)
                self.assertIn(f"line 2: found 'bugs={bug}'", done.stderr)

    def test_recording_changes_nothing(self):
        """What a run finds doesn't depend on somebody listening."""
        trace = self.short_trace(50000, vcpus=1)
        _, recorded = self.record("--pages", "4k", trace=trace)
        done = call("run", trace, "--pages", "4k", "--json", "-")
        plain = json.loads(done.stdout)
        for section in ("guest", "exits", "mappings", "mmu", "seamcalls", "integrity"):
            self.assertEqual(recorded[section], plain[section], section)

    def change(self, path, number, old, new):
        lines = path.read_text().splitlines()
        self.assertIn(old, lines[number - 1])
        lines[number - 1] = lines[number - 1].replace(old, new)
        path.write_text("\n".join(lines) + "\n")

    def test_changed_answer(self):
        """An answer that was changed is found at its line, by status and by register."""
        path, _ = self.record(trace=self.short_trace(5000))
        original = path.read_text()
        lines = original.splitlines()
        first_aug = next(i for i, line in enumerate(lines, 1) if "TDH.MEM.PAGE.AUG" in line)
        for old, new in (("-> TDX_SUCCESS", "-> TDX_OPERAND_INVALID|0x8"),
                         ("rdx=0x0", "rdx=0x1")):
            with self.subTest(new=new):
                path.write_text(original)
                self.change(path, first_aug, old, new)
                again = self.replay(path, status=1)
                self.assertTrue(again["differs"])
                self.assertEqual(again["difference"]["line"], first_aug)
                self.assertIn("TDH.MEM.PAGE.AUG", again["difference"]["call"])
                self.assertIn(new.split()[-1], again["difference"]["expected"])
                self.assertNotIn(new.split()[-1], again["difference"]["found"])
        done = call("seamcall", "--replay", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"DIFFERENT at line {first_aug}:", done.stdout)

    def refused(self, path, *words):
        done = call("seamcall", "--replay", path)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in (str(path), *words):
            self.assertIn(word, done.stderr)

    def test_truncated(self):
        """A stream that isn't whole is refused, plain or compressed."""
        path, _ = self.record(trace=self.short_trace(5000))
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[:100]) + "\n")
        self.refused(path, "line 101", "expected 'end'")
        path.write_text("\n".join(lines[:100]) + "\ncall lp=2 TDH.ME")
        self.refused(path, "line 101", "found 'TDH.ME'")
        packed, _ = self.record(name="e.zst", trace=self.short_trace(5000))
        data = packed.read_bytes()
        packed.write_bytes(data[:len(data) // 2])
        self.refused(packed, "truncated")

    def test_garbled(self):
        """A flipped byte of a compressed stream, and a stream of something else, are refused."""
        packed, _ = self.record(name="e.zst", trace=self.short_trace(5000))
        data = bytearray(packed.read_bytes())
        data[len(data) // 2] ^= 0x55
        packed.write_bytes(bytes(data))
        done = call("seamcall", "--replay", packed)
        # What comes before the end of the damaged block may be readable, and differ.
        self.assertIn(done.returncode, (1, 2), done.stderr)
        self.refused(TRACE, "line 1", "expected 'septum-events'")
        self.refused(Path("/nonexistent"), "No such file")

    def test_unwritable(self):
        """A stream that can't be made is refused at once; one that can't be written, at the end."""
        short = self.short_trace(1000)
        done = call("run", short, "--events", "/nonexistent/e.txt")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--events /nonexistent/e.txt", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        done = call("run", short, "--events", "/dev/full")
        self.assertEqual(done.returncode, 4)
        self.assertIn("No space left", done.stderr)
        self.assertIn("integrity errors", done.stdout)

    def test_usage(self):
        """What can't be had together is named, and so is what's missing."""
        done = call("run", TRACE, "--compare", "--events", "x")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--compare and --events", done.stderr)
        self.assertEqual(call("run", TRACE, "--events").returncode, 2)
        done = call("seamcall", "--replay")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--replay: expected a file", done.stderr)
        done = call("seamcall", "--replay", "x", "script.sc")
        self.assertEqual(done.returncode, 2)
        self.assertIn("expected no SCRIPT with --replay", done.stderr)
        self.assertIn("did you mean --replay", call("seamcall", "--reply", "x").stderr)


if __name__ == "__main__":
    unittest.main()
