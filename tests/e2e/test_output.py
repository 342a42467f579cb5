# SPDX-License-Identifier: MIT
"""What all commands share: output that can't be written, readers that go."""
import subprocess
import unittest

from septum import CHECKING, ROOT, SEPTUM, call

COMMANDS = (("--help",), ("--version",), ("bench", "--list"), ("explore", "--help"),
            ("explore", "two-holes"), ("explore", "two-holes", "--json", "-"),
            ("sequence", "--ops", "500"), ("seamcall", "--help"), ("run", "--help"))


class Output(unittest.TestCase):
    def test_no_room(self):
        """A report that can't be written is exit status 4 and a line that says so."""
        for args in COMMANDS:
            with self.subTest(args=args), open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run([SEPTUM, *args], cwd=ROOT, stdout=full, timeout=60,
                                      stderr=subprocess.PIPE, text=True)
                self.assertEqual(done.returncode, 4, done.stderr)
                self.assertIn("septum: standard output: what was printed is lost", done.stderr)

    def test_reader_goes(self):
        """A reader that wants no more is no error: nothing is said of it."""
        for ignored in ("", "trap '' PIPE; "):
            script = f"{ignored}'{CHECKING}' explore --bugs | head -1"
            done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(len(done.stdout.splitlines()), 1)

    def test_nothing_wrong(self):
        """Output that is read is exit status 0."""
        self.assertEqual(call("--version").returncode, 0)


class Dev(unittest.TestCase):
    def dev(self, *args):
        return subprocess.run(["./dev", *args], cwd=ROOT, capture_output=True, text=True, timeout=60)

    def test_help(self):
        """Every command of ./dev answers --help with its usage, and does nothing else."""
        for command in ("run", "build", "test", "check", "coverage", "fuzz", "nightly", "explore",
                        "bench"):
            for args in ((command, "--help"), (command, "x", "--help")):
                done = self.dev(*args)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertTrue(done.stdout.startswith(f"usage: ./dev {command}"), done.stdout)

    def test_bad_ranks(self):
        """--ranks without a number is told of before anything is built."""
        for args in (("--ranks",), ("--ranks", "all"), ("--ranks", "0"), ("--hosts", "hosts")):
            done = self.dev("explore", *args)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done.stderr)
            self.assertIn(args[0], done.stderr)


if __name__ == "__main__":
    unittest.main()
