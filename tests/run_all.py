#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the unit tests of a build folder, then the end-to-end tests, and ends with one count.

usage: run_all.py [--build FOLDER] [--unit] [NAME...]
--build FOLDER  where the unit tests are (default build-check)
--unit          no end-to-end tests
NAME            only unit tests and end-to-end tests whose name holds one of these
"""
import argparse
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_unit(build, names):
    """Runs meson's tests; returns (passed, failed), a cmocka program counting its own tests."""
    listed = subprocess.run(["meson", "test", "-C", build, "--list"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout.split("\n")
    tests = [line.split(" / ")[-1].strip() for line in listed if " / " in line]
    chosen = [t for t in tests if not names or any(n in t for n in names)]
    if not chosen:
        return 0, 0
    subprocess.run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs",
                    "--quiet", *chosen], cwd=ROOT, stdout=sys.stderr)
    passed = failed = 0
    for line in (ROOT / build / "meson-logs" / "testlog.json").read_text().splitlines():
        entry = json.loads(line)
        output = entry.get("stdout", "") + entry.get("stderr", "")
        inner_passed = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", output)))
        inner_failed = sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", output)))
        if entry["result"] == "OK":
            passed += inner_passed or 1
        else:
            passed += inner_passed
            failed += inner_failed or 1
            print(f"FAILED {entry['name']}", file=sys.stderr)
    return passed, failed


def run_end_to_end(names):
    suite = unittest.defaultTestLoader.discover(str(ROOT / "tests" / "e2e"))
    if names:
        chosen = unittest.TestSuite()
        pending = [suite]
        while pending:
            item = pending.pop()
            if isinstance(item, unittest.TestSuite):
                pending.extend(item)
            elif any(n in item.id() for n in names):
                chosen.addTest(item)
        suite = chosen
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors)
    return result.testsRun - failed - len(result.skipped), failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build-check")
    parser.add_argument("--unit", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()

    passed, failed = run_unit(args.build, args.names)
    if not args.unit:
        more_passed, more_failed = run_end_to_end(args.names)
        passed += more_passed
        failed += more_failed
    print(f"{passed} passed, {failed} failed", flush=True)
    if passed + failed == 0:
        print("run_all.py: no test has such a name", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
