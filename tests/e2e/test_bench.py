# SPDX-License-Identifier: MIT
"""`septum bench`: names, JSON and refusals. No test asserts a time."""
import json
import re
import tempfile
import unittest
from pathlib import Path

from septum import ROOT, call

# What checks rely on, by unit.
NAMES = {
    "ns": ("fault-4k", "fault-2m", "walk", "seamcall-aug-4k", "seamcall-demote-2m",
           "seamcall-sept-rd", "mmu-map-4k", "mmu-zap-2m", "mmu-walk", "mmu-split-2m",
           "mmu-merge-2m"),
    "lines/s": ("seamcall-script-lines",),
    "switches/s": ("explore-switch", "explore-search"),
    "us": ("host-start-1g", "host-start-16t", "split-2m", "split-2m-host", "promote-2m",
           "convert-4k", "punch-split-12t"),
    "ms": ("big-td",),
}
# What takes long, or much memory, runs only where it is named.
BY_NAME = {"big-td"}


class Bench(unittest.TestCase):
    def rows(self, text):
        """The benchmarks of a JSON report, by name, after checking its frame."""
        report = json.loads(text)
        self.assertEqual(report["schema"], "septum.bench/1")
        self.assertGreaterEqual(report["machine"]["cpus"], 1)
        self.assertEqual(set(report), {"schema", "machine", "benchmarks"})
        return {row["name"]: row for row in report["benchmarks"]}

    def check_row(self, row):
        """A row has the fields of the schema, with values that can be."""
        self.assertLessEqual({"name", "unit", "median", "p99", "samples"}, set(row))
        self.assertLessEqual(set(row), {"name", "unit", "median", "p99", "samples", "floor", "ratio",
                                        "instructions"})
        self.assertGreater(row["median"], 0)
        self.assertGreater(row["samples"], 0)
        if row["unit"].endswith("/s"):
            self.assertLessEqual(row["p99"], row["median"])
        else:
            self.assertGreaterEqual(row["p99"], row["median"])
        self.assertEqual("floor" in row, "ratio" in row)
        if "floor" in row:
            self.assertGreater(row["floor"], 0)
            self.assertAlmostEqual(row["ratio"], row["median"] / row["floor"], places=3)
        if "instructions" in row:
            self.assertGreater(row["instructions"], 0)

    def test_list(self):
        """--list names every benchmark that checks rely on, with its unit, and what its floor does."""
        done = call("bench", "--list")
        self.assertEqual(done.returncode, 0)
        listed = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()
                  if not line.startswith(" ")}
        self.assertEqual(listed, {name: unit for unit, names in NAMES.items() for name in names})
        self.assertEqual(done.stdout.count("floor: "), len(listed))

    def test_every_benchmark_runs(self):
        """Without a name all others run; each has a row of the schema, with a floor but for starts."""
        done = call("bench", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = self.rows(done.stdout)
        self.assertEqual({(r["name"], r["unit"]) for r in rows.values()},
                         {(name, unit) for unit, names in NAMES.items() for name in names
                          if name not in BY_NAME})
        for name, row in rows.items():
            with self.subTest(name=name):
                self.check_row(row)
                self.assertEqual("floor" in row, not name.startswith("host-start"))

    def test_chosen_names(self):
        """Only what was named runs, in that order; the table goes to standard error."""
        done = call("bench", "walk", "mmu-walk", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(list(self.rows(done.stdout)), ["walk", "mmu-walk"])
        self.assertIn("walk", done.stderr)

    def test_json_file(self):
        """--json FILE writes the report there and the table to standard error."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.json"
            done = call("bench", "walk", "--json", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(list(self.rows(path.read_text())), ["walk"])

    def test_debates_document(self):
        """docs/debates.md is what `septum bench debates` writes, but for what was measured."""
        def timeless(text):
            return re.sub(r"~[\d.]+", "~", text)

        done = call("bench", "debates")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(timeless((ROOT / "docs/debates.md").read_text()), timeless(done.stdout))

    def test_debates_name_every_policy(self):
        """Each range of docs/debates.md has a row for each policy that `septum run` offers."""
        usage = call("run", "--help").stdout
        sections = re.split(r"^(?=## )", (ROOT / "docs/debates.md").read_text(), flags=re.M)
        text = "".join(section for section in sections if not section.startswith("## 001"))
        rows = re.findall(r"^\| (.*?) \| `(.*?)` \|", text, re.M)
        offered = []
        for option in ("--split-range", "--split-metadata", "--demote-lock"):
            words = re.search(option + r"[ =](\S+)", usage).group(1).split("|")
            self.assertGreater(len(words), 1)
            offered.append(words)
        by_range = [[word for what, word in rows if what == name and word in words]
                    for name in dict(rows) for words in offered]
        self.assertEqual({word for _, word in rows}, {word for words in offered for word in words})
        for found in by_range:
            self.assertIn(found, offered + [[]])

    def test_debates_name_every_choice_of_thread_001(self):
        """The sections on memory files have a row for each value of each of thread 001's options."""
        usage = call("run", "--help").stdout
        text = (ROOT / "docs/debates.md").read_text()
        rows = "".join(line for section in re.split(r"^## ", text, flags=re.M)
                       if section.startswith("001: ")
                       for line in section.splitlines() if line.startswith("| "))
        for option in ("--folio-split", "--folio-refs", "--restructure", "--convert-order",
                       "--mapping-check", "--mapping-form"):
            self.assertIn(option, text)
            words = re.search(option + r"[ =](\S+)", usage)
            if words:
                for word in words.group(1).split("|"):
                    self.assertIn(f"`{word}`", rows)

    def test_debates_answer_each_question(self):
        """Each section of docs/debates.md with a table ends in a conclusion; each time has a floor."""
        text = (ROOT / "docs/debates.md").read_text()
        for section in re.split(r"^##+ ", text, flags=re.M)[1:]:
            title = section.splitlines()[0]
            with self.subTest(section=title):
                if "|---" in section:
                    self.assertIn("\nConclusion: ", section)
                for head in re.findall(r"^\| .*\|$(?=\n\|---)", section, flags=re.M):
                    columns = [column.strip() for column in head.strip("|").split("|")]
                    if {"time", "whole", "split"} & set(columns):
                        self.assertIn("floor", columns)
        for what in ("8 KiB, 1G leaves", "1 MiB, 2M leaves", "600 MiB, 2M leaves",
                     "12 TiB, 2M leaves", "12 TiB, 1G leaves"):
            self.assertEqual(len(re.findall(rf"^\| {what} \| `(?:ends|walk|two-walks)` \|", text,
                                            flags=re.M)), 3, what)

    def big_td(self, tables_4k):
        """What a TD of 2.5 TiB must have, by arithmetic: {level: (leaves, tables, descriptors)}."""
        gib = 2560
        return {"2m": (gib * 512, gib + gib // 512, gib),
                "1g": (gib, gib // 512, gib),
                "4k": (gib << 18, tables_4k, gib << 12)}

    def test_big_td_document(self):
        """docs/big-td.md says what arithmetic says of tables, descriptors and pairs."""
        text = (ROOT / "docs/big-td.md").read_text()
        cells = [[cell.strip() for cell in line.strip("|").split("|")]
                 for line in text.splitlines() if re.match(r"\| [0-9]", line)]
        rows = {row[0].split(",")[0].lower(): row[1:] for row in cells}
        # 64 GiB at 4K have 32,768 tables, 64 above them and one above these; this, 40 times.
        for level, (leaves, tables, pages) in self.big_td(40 * (32768 + 64 + 1)).items():
            row = rows[level]
            self.assertEqual(int(row[0]), leaves)
            self.assertEqual(int(row[2]), tables)
            self.assertAlmostEqual(float(row[6]), pages * 4096 / 2**20, places=1)
        self.assertIn("computed", text)

    def test_big_td(self):
        """A TD of 2.5 TiB is mapped at 2M and 1G; the program stays below 1 GiB (4K is computed)."""
        done = call("bench", "walk", "--json", "-")
        if json.loads(done.stdout)["machine"]["build"] != "release":
            self.skipTest("takes a minute in this build")
        done = call("bench", "big-td", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        row = self.rows(done.stdout)["big-td"]
        self.assertLess(row["peak_resident_bytes"], 2**30)
        self.assertEqual([m["computed"] for m in row["mapped"]], [False, False, True])
        want = self.big_td(40 * (32768 + 64 + 1))
        for m in row["mapped"]:
            leaves, tables, pages = want[m["level"]]
            self.assertEqual((m["leaves"], m["sept_table_pages"], m["vmemmap_bytes"]),
                             (leaves, tables, pages * 4096))

    def refused(self, *args, words):
        done = call("bench", *args)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_unknown_name(self):
        """An unknown name is refused with the nearest one, or with where the names are."""
        self.refused("fault-4", words=("'fault-4'", "fault-4k"))
        self.refused("seamcall-sept-rf", words=("seamcall-sept-rd",))
        self.refused("zzzzzzzzzz", words=("'zzzzzzzzzz'", "--list"))
        self.refused("walk", "mmu-wolk", words=("mmu-walk",))

    def test_unknown_option(self):
        """An unknown option is refused."""
        self.refused("--jsn", words=("--jsn", "expected"))
        self.refused("debates", "walk", words=("debates",))

    def test_json_that_cant_be_written(self):
        """A report that can't be written is refused with its path."""
        done = call("bench", "walk", "--json", "/nonexistent/x.json")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent/x.json", done.stderr)


if __name__ == "__main__":
    unittest.main()
