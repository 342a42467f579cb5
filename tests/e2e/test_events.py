# SPDX-License-Identifier: MIT
"""`septum run --events` and `septum seamcall --replay`: what was recorded answers the same again."""
import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from septum import (CHECKING, SEPTUM, TRACE, bytes_of, call, check_counts, record, replay, run_json)

BUSY = re.compile(r"BUSY")
# Gives a 16M range back thirty times while the guest runs.
DISCARDS = [word for i in range(1, 31) for word in ("--discard", f"0x6400000:16M@{i * 20000}")]


def lines_of(path):
    return bytes_of(path).decode().splitlines()


class Events(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def record(self, *args, name="events.txt", program=SEPTUM, trace=TRACE, status=0):
        """A run with --events; returns the stream's path and the run's JSON."""
        path = self.folder / name
        return path, record(path, trace, *args, program=program, status=status)

    def check_same(self, *args, **kwargs):
        """Records, replays, and compares the stream's counts with the run's; returns the lines."""
        path, run = self.record(*args, **kwargs)
        again = replay(path, kwargs.get("program", SEPTUM))
        lines = lines_of(path)
        self.assertFalse(again["differs"])
        check_counts(bytes_of(path), run)
        guest = [line for line in lines if line.startswith("guest ")]
        contended = sum(1 for line in lines if BUSY.search(line.split(" -> ")[-1])
                        and (" overlap=" in line or line.startswith("guest ")))
        self.assertEqual(again["contended"], contended)
        calls = sum(row["calls"] for row in run["seamcalls"].values())
        self.assertEqual(again["seamcalls"] + again["tdcalls"] + contended, calls + len(guest))
        self.assertEqual(again["lines"], len(lines) - 1)
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

    def test_each_option(self):
        """
        Every way to convert, to split and to promote, beside every mode of guest and module, in the
        checking build: calls, exits and accepts are those that the stream has, and it replays.
        """
        short = self.short_trace(40000)
        start, later = "0x2801000:3M@20000", "0x2801000:3M@30000"
        at_once = ("--share", start, "--unshare", later)
        stepped = ("--share", start + "/256K", "--unshare", later + "/64K")
        discard = ("--discard", "0x2800000:5M@25000", "--discard", "0x2a01000:12K@35000")
        splits = [("--split-range", where, "--split-metadata", pages)
                  for where in ("ends", "walk", "two-walks")
                  for pages in ("page", "vm-cache", "prealloc")]
        modes = [("--pages", "4k"), ("--accept", "eager"), ("--accept", "touch"),
                 ("--accept-level", "4k"), ("--pages", "4k", "--accept-level", "2m"),
                 ("--backing", "4k"), ("--dpamt", "off"), ("--vcpus", "4"),
                 ("--module", "1.5.05"), ("--module", "1.5.25"), ("--module", "next")]
        runs = [(*stepped, "--promote", promote, *split)
                for split in splits for promote in ("now", "idle")]
        runs += [(*at_once, *discard, "--promote", "now", *split) for split in splits]
        runs += [(*at_once, *discard, "--promote", promote, *mode)
                 for mode in modes for promote in ("now", "off")]
        for args in runs:
            with self.subTest(args=args):
                out = run_json(short, *args, program=CHECKING)
                self.assertTrue(out["outcome"]["good"])
                self.assertGreater(out["exits"]["map_gpa"], 0)

    def test_single_vcpu(self):
        """With one vCPU no call meets another, so that none is contended."""
        lines = self.check_same("--pages", "4k", trace=self.short_trace(20000, vcpus=1))
        self.assertFalse([line for line in lines if " overlap=" in line])

    def test_planted_bugs(self):
        """The stream of a run that goes wrong replays, in the build that has the bug."""
        for bug in ("skip-kick", "skip-track", "key-mixup"):
            with self.subTest(bug=bug):
                path, _ = self.record("--bug", bug, program=CHECKING, status=1)
                self.assertFalse(replay(path, program=CHECKING)["differs"])
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
                again = replay(path, status=1)
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
