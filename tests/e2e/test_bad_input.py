# SPDX-License-Identifier: MIT
"""Bad input: exit status 2 and one line that names where, what was found and what was expected."""
import resource
import subprocess
import tempfile
import unittest
from pathlib import Path

from septum import SEPTUM, TRACE, call

GOOD = "0\t0\tw\t6\n10\t1\tr\t7\n"


class BadTrace(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, content, name="t.tsv"):
        path = Path(self.folder.name) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def refused(self, *args, words=(), status=2):
        """septum run @args is refused in one line that holds all of @words."""
        done = call("run", *args)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_good_trace_is_taken(self):
        """The trace that the bad ones are made from is good."""
        self.assertEqual(call("run", self.file(GOOD)).returncode, 0)

    def test_garbled_lines(self):
        """Every field that can't be read is named with its line."""
        for line, found in (("x\t0\tw\t6", "x"), ("0\tq\tw\t6", "q"), ("0\t0\tz\t6", "z"),
                            ("0\t0\tw\tzz", "zz"), ("0 0 w 6", "0 0 w 6"), ("0\t0\tw", "gfn is missing"),
                            ("0\t0\tw\t6\t7", "7"), ("", ""), ("-1\t0\tw\t6", "-1"),
                            ("0\t0\tw\t0x6", "0x6"),
                            ("99999999999999999999\t0\tw\t6", "999999999999"),
                            ("0\t0\tw\tfffffffffffffffff", "ffffffffffff")):
            with self.subTest(line=line):
                path = self.file(GOOD + line + "\n" + GOOD)
                self.refused(path, words=(str(path), "line 3", found, "expected"))

    def test_binary_garbage(self):
        """Bytes that are no text are refused at their line."""
        path = self.file(GOOD.encode() + b"\x00\xff\xfe\x01\n")
        self.refused(path, words=(str(path), "line 3"))

    def test_truncated_text(self):
        """A last line that stops in the middle is refused."""
        path = self.file(GOOD + "12\t0\t")
        self.refused(path, words=(str(path), "line 3", "expected"))

    def test_truncated_zstd(self):
        """A compressed trace that ends early is refused before anything runs."""
        path = self.file(TRACE.read_bytes()[:400000], "t.tsv.zst")
        self.refused(path, words=(str(path),))

    def test_garbled_zstd(self):
        """A compressed trace with a flipped byte is refused before anything runs."""
        data = bytearray(TRACE.read_bytes())
        data[len(data) // 2] ^= 0x55
        path = self.file(bytes(data), "t.tsv.zst")
        self.refused(path, words=(str(path),))

    def test_empty_trace(self):
        """An empty trace has nothing to replay."""
        self.refused(self.file(""), words=("empty", "t.tsv"))

    def test_missing_file_and_directory(self):
        """What can't be read is named with the reason."""
        self.refused("/nonexistent.tsv", words=("/nonexistent.tsv", "No such file"))
        self.refused(self.folder.name, words=(self.folder.name,))

    def test_gfn_outside_memory(self):
        """A gfn beyond --memory is refused with its line and the limit."""
        path = self.file(GOOD + "1\t0\tw\t8\n")
        self.refused(path, "--memory", "32K", words=("line 3", "gfn", "8"))
        self.assertEqual(call("run", path, "--memory", "36K").returncode, 0)

    def test_vcpu_beyond_the_count(self):
        """A vCPU beyond --vcpus is refused with its line."""
        self.refused(self.file(GOOD), "--vcpus", "1", words=("line 2", "vcpu", "1"))

    def test_memory_not_a_multiple_of_4k(self):
        """A memory size that isn't whole pages is refused."""
        self.refused(TRACE, "--memory", "1000000001", words=("--memory", "multiple of 4K"))

    def test_bad_values(self):
        """Unknown values name the option, what was found, and what would do."""
        for option, value, expected in (("--pages", "3m", "2m, 4k or 1g"),
                                        ("--accept", "never", "lazy, eager or touch"),
                                        ("--accept-level", "8k", "2m or 4k"),
                                        ("--module", "9.9", "1.5.28"),
                                        ("--dpamt", "maybe", "on or off"),
                                        ("--accept-level", "1g", "2m or 4k"),
                                        ("--backing", "tape",
                                         "thp, 4k, hugetlb-2m or hugetlb-1g"),
                                        ("--backing", "hugetlb", "hugetlb-2m or hugetlb-1g"),
                                        ("--folio-split", "even", "nonuniform or uniform"),
                                        ("--folio-refs", "none", "split or counted"),
                                        ("--restructure", "never", "prealloc or late"),
                                        ("--convert-order", "zap",
                                         "split-folio-zap, zap-folio or folio-zap"),
                                        ("--mapping-check", "gmem", "mmu, tdx or trust"),
                                        ("--mapping-form", "huge", "original or folio"),
                                        ("--failure-scope", "all", "page or folio"),
                                        ("--vmemmap", "yes", "on or off"),
                                        ("--pool", "0", "number of huge pages"),
                                        ("--pool", "-1", "number of huge pages"),
                                        ("--pool", "many", "number of huge pages"),
                                        ("--fail", "banana", "GPA@EVENT"),
                                        ("--fail", "0x1000", "GPA@EVENT"),
                                        ("--fail", "0x1000:4K@1", "GPA@EVENT"),
                                        ("--fail", "0x1000@", "GPA@EVENT"),
                                        ("--fail", "@5", "GPA@EVENT"),
                                        ("--fail", "0x1000@1/4K", "GPA@EVENT"),
                                        ("--fail", "0x1000@0", "from 1"),
                                        ("--fail", "0x80000000@1", "outside memory"),
                                        ("--fail", "0xffffffffffffffff@1", "outside memory"),
                                        ("--fail", "0x1000@745169", "745168 events"),
                                        ("--memory", "big", "size"), ("--memory", "32T", "16T"),
                                        ("--vcpus", "0", "1 to 512"), ("--seed", "x", "number"),
                                        ("--discard", "0x1001:4K@1", "whole 4K"),
                                        ("--discard", "0x1000:4K@1/4K", "GPA:SIZE@EVENT"),
                                        ("--discard", "banana", "GPA:SIZE@EVENT"),
                                        ("--discard", "0x200000:2M@0", "from 1"),
                                        ("--discard", "0x80000000:2M@1", "outside memory"),
                                        ("--discard", "0x200000:2M@745169", "745168 events"),
                                        ("--share", "banana", "GPA:SIZE@EVENT[/STEP]"),
                                        ("--share", "0x1000:4K@1/", "/STEP"),
                                        ("--share", "0x1000:4K@1/x", "/STEP"),
                                        ("--share", "0x1000:4K@1/0", "step of whole 4K"),
                                        ("--share", "0x1000:4K@1/1K", "step of whole 4K"),
                                        ("--share", "0x1800:4K@1", "whole 4K"),
                                        ("--share", "0x1000:0@1", "whole 4K"),
                                        ("--share", "0x1000:5K@1", "whole 4K"),
                                        ("--unshare", "0x1000:4K@0", "from 1"),
                                        ("--unshare", "0x7ffff000:8K@1", "outside memory"),
                                        ("--unshare", "0x1000:4K@745169", "745168 events"),
                                        ("--promote", "later", "off, idle or now"),
                                        ("--split-range", "end", "ends, walk or two-walks"),
                                        ("--split-metadata", "cache",
                                         "page, vm-cache or prealloc"),
                                        ("--demote-lock", "never", "always or retry")):
            with self.subTest(option=option, value=value):
                self.refused(TRACE, option, value, words=(option, "expected"
                             if expected not in ("later", "from 1", "outside memory",
                                                 "745168 events") else "", expected))

    def test_unknown_option(self):
        """An unknown option suggests the nearest."""
        self.refused(TRACE, "--page", "4k", words=("unknown option '--page'", "--pages"))
        self.refused(TRACE, "--frobnicate", words=("unknown option '--frobnicate'",))

    def test_later_options(self):
        """An option that comes later is refused as such."""
        self.refused(TRACE, "--time", "x", words=("--time", "comes later"))

    def test_missing_input_and_value(self):
        """A missing INPUT, a missing value and a second INPUT are named."""
        self.refused(words=("expected a trace",))
        self.refused(TRACE, "--pages", words=("--pages", "expected a value"))
        self.refused(TRACE, TRACE, words=("expected one INPUT",))

    def test_contradictions(self):
        """Options that contradict each other are named."""
        self.refused(TRACE, "--compare", "--pages", "4k", words=("--compare", "--pages"))
        self.refused(TRACE, "--compare", "--json", "-", words=("--compare", "--json"))
        self.refused(TRACE, "--dpamt", "on", "--module", "1.5.05", words=("--dpamt", "1.5.05"))
        for option, value in (("--vmemmap", "on"), ("--vmemmap", "off"), ("--pool", "1024")):
            for backing in ((), ("--backing", "thp"), ("--backing", "4k")):
                self.refused(TRACE, option, value, *backing, words=(option, "beside --backing"))

    def test_pool_too_small(self):
        """A pool that memory doesn't fit into is refused at start, with how much is missing."""
        for backing, pool, missing, needed in (("hugetlb-1g", "1", "1 page of 1G", "2"),
                                               ("hugetlb-2m", "1000", "24 pages of 2M", "1024"),
                                               ("hugetlb-2m", "2000M", "24 pages of 2M", "1024"),
                                               ("hugetlb-1g", "1G", "1 page of 1G", "2")):
            with self.subTest(backing=backing, pool=pool):
                self.refused(TRACE, "--backing", backing, "--pool", pool,
                             words=("--pool", pool, missing + " missing", f"at least {needed} "))
        self.refused(TRACE, "--backing", "hugetlb-1g", "--memory", "2049M", "--pool", "2",
                     words=("1 page of 1G missing", "at least 3 "))
        self.refused(TRACE, "--backing", "hugetlb-1g", "--pool", "2500M",
                     words=("--pool", "multiple of 1G"))
        self.refused(TRACE, "--backing", "hugetlb-1g", "--pool", "16385", words=("--pool", "16T"))

    def test_too_many_failures(self):
        """More failures than there is room for are refused."""
        self.refused(TRACE, *(["--fail", "0x1000@1"] * 65), words=("--fail", "at most 64"))

    def test_json_that_cant_be_written(self):
        """A JSON file that can't be written is named."""
        done = call("run", self.file(GOOD), "--json", "/nonexistent/x.json")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent/x.json", done.stderr)

    def test_no_room(self):
        """No room for the reserved range is exit status 4, with the reason."""
        limit = 8 << 30

        done = subprocess.run([str(SEPTUM), "run", str(self.file(GOOD)), "--memory", "64G"],
                              capture_output=True, text=True, timeout=60,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS,
                                                                    (limit, limit)))
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("no room", done.stderr)

    def test_unknown_command(self):
        """An unknown command suggests the nearest."""
        done = call("rum", TRACE)
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean 'run'", done.stderr)

    def test_help(self):
        """--help of every subcommand is good and lists options."""
        for command in ("run", "seamcall", "bench"):
            done = call(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("--json", done.stdout)


if __name__ == "__main__":
    unittest.main()
