# SPDX-License-Identifier: MIT
"""`septum run` on memory files of every kind: huge pages, their folios, conversions, failing memory."""
import functools
import subprocess
import tempfile
import unittest
from pathlib import Path

from septum import CHECKING, SEPTUM, TRACE, call, run_json

PAGES, BLOCKS, CHECKS = 203035, 399, 401262
BACKINGS = ("thp", "4k", "hugetlb-2m", "hugetlb-1g")
# A page inside a block that is busy all the time, shared and private again.
BOUNCE = ("--share", "0x2801000:4K@100000", "--unshare", "0x2801000:4K@400000")


@functools.cache
def events():
    """The shipped trace: (vcpu, is a write, gfn) for each event."""
    lines = subprocess.run(["zstdcat", str(TRACE)], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    words = (line.split("\t") for line in lines)
    return [(int(vcpu), kind == "w", int(gfn, 16)) for _, vcpu, kind, gfn in words]


def uses_after(event, first, end):
    """Uses of gfns [first, end) from event number @event on (1 is the first): {gfn: how many}."""
    uses = {}
    for _, _, gfn in events()[event - 1:]:
        if first <= gfn < end:
            uses[gfn] = uses.get(gfn, 0) + 1
    return uses


def accepted_after(event, first, end):
    """Pages of gfns [first, end) that the guest accepts from event @event on, 2M at a time."""
    before = {gfn >> 9 for _, _, gfn in events()[:event - 1]}
    blocks = {gfn >> 9 for _, _, gfn in events()[event - 1:]} - before
    return {gfn for block in blocks for gfn in range(block << 9, block + 1 << 9)
            if first <= gfn < end}


class Memory(unittest.TestCase):
    def check_sound(self, out):
        """No read finds anything but what was written, and nothing is left behind."""
        self.assertEqual(out["integrity"]["errors"], 0)
        self.assertTrue(out["outcome"]["good"], out["outcome"])
        self.assertEqual(out["outcome"]["frames_leaked"], 0)
        self.assertEqual(out["outcome"]["pamt_leaked"], 0)

    def cut_trace(self, nr):
        """The first @nr events of the shipped trace, as a file of the test's."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "cut.tsv"
        path.write_text("".join(f"1\t{vcpu}\t{'w' if write else 'r'}\t{gfn:x}\n"
                                for vcpu, write, gfn in events()[:nr]))
        return path


class Choices(Memory):
    VALUES = {"--folio-split": ("nonuniform", "uniform"), "--folio-refs": ("split", "counted"),
              "--restructure": ("prealloc", "late"),
              "--convert-order": ("split-folio-zap", "zap-folio", "folio-zap"),
              "--mapping-check": ("mmu", "tdx", "trust"), "--mapping-form": ("original", "folio"),
              "--failure-scope": ("page", "folio")}
    WORK = ("--share", "0x1301000:3M@20000/256K", "--unshare", "0x1301000:3M@30000/64K",
            "--discard", "0x1700000:1M@25000", "--fail", "0x1803000@15000")

    def test_defaults(self):
        """What isn't said is the first value of each option; pools are said with HugeTLB alone."""
        out = run_json(TRACE)
        for option, values in self.VALUES.items():
            self.assertEqual(out["policy"][option[2:]], values[0])
        self.assertEqual(out["policy"]["backing"], "thp")
        self.assertNotIn("vmemmap", out["policy"])
        self.assertNotIn("hugetlb_pool", out["memory"])
        self.assertNotIn("vmemmap_saved_bytes", out["memory"])
        self.assertEqual(out["guest"]["machine_checks"], 0)
        out = run_json(TRACE, "--backing", "hugetlb-2m")
        self.assertEqual(out["policy"]["vmemmap"], "on")
        self.assertEqual(out["policy"]["pool"], 1024)

    def test_each_value(self):
        """Each value of each option beside every backing: conversions, holes and failures lose nothing."""
        cut = self.cut_trace(40000)
        for backing in BACKINGS:
            for option, values in self.VALUES.items():
                for value in values:
                    with self.subTest(backing=backing, option=option, value=value):
                        out = run_json(cut, "--backing", backing, option, value, *self.WORK,
                                       "--promote", "now", program=CHECKING)
                        self.check_sound(out)
                        self.assertEqual(out["policy"]["backing"], backing)
                        self.assertEqual(out["policy"][option[2:]], value)
                        self.assertEqual(out["policy"]["fail"], ["0x1803000@15000"])
                        self.assertGreater(out["memory"]["pages_failed"], 0)

    def test_folio_choices_together(self):
        """
        All that folios can do, together with every order and check. By the rule of folios, splitting
        them under the leaf that maps them is caught by whoever looks, and by nobody who trusts.
        """
        cut = self.cut_trace(40000)
        at_once = ("--share", "0x1301000:3M@20000", "--unshare", "0x1301000:3M@30000")
        for order in self.VALUES["--convert-order"]:
            for check in self.VALUES["--mapping-check"]:
                for form in self.VALUES["--mapping-form"]:
                    for refs in self.VALUES["--folio-refs"]:
                        for late in self.VALUES["--restructure"]:
                            args = ("--convert-order", order, "--mapping-check", check,
                                    "--mapping-form", form, "--folio-refs", refs,
                                    "--restructure", late)
                            caught = (order == "folio-zap" and form == "folio" and
                                      check != "trust" and refs == "split")
                            with self.subTest(args=args):
                                out = run_json(cut, *args, *at_once, "--backing", "hugetlb-2m",
                                               program=CHECKING, status=1 if caught else 0,
                                               recorded=late == "late")
                                self.assertEqual(out["integrity"]["errors"], 0)
                                if caught:
                                    where = {"mmu": "mapping check of the MMU",
                                             "tdx": "mapping check before TDH.MEM.PAGE.DEMOTE"}
                                    self.assertIn(where[check], out["outcome"]["vm_dead"])
                                else:
                                    self.check_sound(out)

    def test_who_splits_folios(self):
        """
        A shared page takes a huge page apart into 2M folios but where it is, or into 4K ones all over,
        or not at all; when it is private again the page is whole again.
        """
        for backing, huge, in_4k, in_2m in (("hugetlb-1g", "folios_1g", 512, 511),
                                            ("hugetlb-2m", "folios_2m", 512, 0),
                                            ("thp", "folios_2m", 512, 0)):
            cases = (("nonuniform", in_4k, in_2m), ("uniform", 512 * (in_2m + 1), 0))
            for split, small, middle in cases:
                with self.subTest(backing=backing, split=split):
                    args = ("--backing", backing, "--folio-split", split)
                    memory = run_json(TRACE, *args, *BOUNCE[:2])["memory"]
                    self.assertEqual(memory["folio_splits"], 1)
                    self.assertEqual(memory["folio_merges"], 0)
                    self.assertEqual(memory["folios_4k"], small)
                    if backing == "hugetlb-1g":
                        self.assertEqual(memory["folios_2m"], middle)
                    memory = run_json(TRACE, *args, *BOUNCE)["memory"]
                    self.assertEqual((memory["folio_splits"], memory["folio_merges"]), (1, 1))
                    self.assertEqual(memory["folios_4k"], 0)
                    self.assertEqual(memory[huge], 2 if backing == "hugetlb-1g" else BLOCKS)
            memory = run_json(TRACE, "--backing", backing, "--folio-refs", "counted", *BOUNCE[:2])
            self.assertEqual(memory["memory"]["folio_splits"], 0)


class HugePages(Memory):
    def test_bounce_and_promote(self):
        """A page shared and private again: at the end every leaf is as if nothing had happened."""
        for backing in ("thp", "hugetlb-2m", "hugetlb-1g"):
            for pages in ("2m", "1g"):
                for promote in ("now", "idle"):
                    with self.subTest(backing=backing, pages=pages, promote=promote):
                        out = run_json(TRACE, "--backing", backing, "--pages", pages, *BOUNCE,
                                       "--promote", promote)
                        self.check_sound(out)
                        self.assertEqual(out["integrity"]["checks"], CHECKS)
                        self.assertEqual(out["mappings"]["pages_2m"], BLOCKS)
                        self.assertEqual(out["mappings"]["pages_4k"], 0)
                        self.assertEqual(out["mappings"]["shared_bytes"], 0)

    def test_1g_leaves(self):
        """All of memory at 1G comes from promotion; a page goes down to 4K and comes back to 1G."""
        whole = ("--backing", "hugetlb-1g", "--pages", "1g", "--accept", "eager", "--promote", "now")
        out = run_json(TRACE, *whole)
        self.check_sound(out)
        self.assertEqual(out["policy"]["pages"], "1g")
        self.assertEqual(out["policy"]["accept-level"], "2m")
        self.assertEqual(out["mappings"]["pages_1g"], 2)
        self.assertEqual(out["mappings"]["pages_2m"], 0)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.AUG"]["ok"], 1024)
        out = run_json(TRACE, *whole, *BOUNCE)
        self.check_sound(out)
        self.assertEqual(out["mappings"]["pages_1g"], 2)
        self.assertEqual(out["mappings"]["pages_2m"], 0)
        self.assertEqual(out["mmu"]["splits"], 2)
        # 2M is what it stays at where nothing larger is allowed, or behind it.
        for args in (("--pages", "2m"), ("--backing", "hugetlb-2m")):
            out = run_json(TRACE, *whole, *args)
            self.assertEqual(out["mappings"]["pages_1g"], 0)
            self.assertEqual(out["mappings"]["pages_2m"], 1024)

    def test_pool_numbers(self):
        """A pool has what memory needs: what isn't used is reserved; saved descriptors are counted."""
        for backing, size, held, saved in (("hugetlb-2m", 2 << 20, BLOCKS, 7),
                                           ("hugetlb-1g", 1 << 30, 2, 4095)):
            for vmemmap in ("on", "off"):
                with self.subTest(backing=backing, vmemmap=vmemmap):
                    total = (2 << 30) // size
                    args = ("--backing", backing, "--vmemmap", vmemmap)
                    out = run_json(TRACE, *args, *BOUNCE)
                    self.check_sound(out)
                    kept = saved * 4096 if vmemmap == "on" else 0
                    self.assertEqual(out["memory"]["vmemmap_saved_bytes"], kept * total)
                    self.assertEqual(out["memory"]["hugetlb_pool"],
                                     {"page_size_bytes": size, "total": total, "free": total - held,
                                      "reserved": total - held, "in_use": held, "broken": 0,
                                      "vmemmap_restored": saved if vmemmap == "on" else 0})
                    # While a page is shared its huge page's descriptors are there.
                    out = run_json(TRACE, *args, *BOUNCE[:2])
                    self.assertEqual(out["memory"]["vmemmap_saved_bytes"], kept * (total - 1))

    def test_pool_size(self):
        """A pool may be larger than needed, by pages or by size; the rest stays free."""
        for pool in ("3", "3G"):
            out = run_json(TRACE, "--backing", "hugetlb-1g", "--pool", pool)
            self.check_sound(out)
            self.assertEqual(out["memory"]["hugetlb_pool"]["total"], 3)
            self.assertEqual(out["memory"]["hugetlb_pool"]["free"], 1)
            self.assertEqual(out["memory"]["hugetlb_pool"]["reserved"], 0)

    def test_memory_ends_inside_a_huge_page(self):
        """The file is whole huge pages, the slot is not: the last one is mapped as far as memory goes."""
        for backing in ("hugetlb-1g", "hugetlb-2m"):
            out = run_json(TRACE, "--backing", backing, "--memory", "2199027449856", "--pages",
                           "1g", "--promote", "now", *BOUNCE)
            self.check_sound(out)
        out = run_json(TRACE, "--backing", "hugetlb-1g", "--memory", "2101M", "--accept", "eager",
                       "--pages", "1g", "--promote", "now")
        self.check_sound(out)
        self.assertEqual(out["memory"]["hugetlb_pool"]["total"], 3)
        self.assertEqual(out["mappings"]["pages_1g"], 2)
        self.assertEqual(out["mappings"]["private_bytes"], 2101 << 20)

    def test_16t_guest(self):
        """A guest of 16 TiB from a pool costs no more than what it touches."""
        out = run_json(TRACE, "--backing", "hugetlb-1g", "--memory", "16T")
        self.check_sound(out)
        self.assertEqual(out["memory"]["vmemmap_saved_bytes"], 16384 * 4095 * 4096)

    def test_compare_on_huge_pages(self):
        """4K beside 2M, from a pool."""
        done = call("run", TRACE, "--compare", "--backing", "hugetlb-1g")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"TDH\.MEM\.PAGE\.AUG, successful +203,035 +399\b")
        self.assertRegex(done.stdout, r"descriptor pages saved +8,190 +8,190\b")


class Failures(Memory):
    BUSY_GFN = 0x4840  # both vCPUs use it hundreds of times after event 300000

    def check_lost(self, out, lost, accepted=frozenset()):
        """
        The guest has got one machine check for each page of @lost ({gfn: uses}), or that it came to
        only to accept it (@accepted), has left out what it would have done there, and found every
        other page as it was.
        """
        self.check_sound(out)
        self.assertEqual(out["guest"]["machine_checks"], len(lost.keys() | accepted))
        self.assertEqual(out["guest"]["accesses_left_out"], sum(lost.values()))
        self.assertEqual(out["guest"]["accesses"], 745168)

    def test_under_load(self):
        """A page in use fails: the guest loses that page, or its huge page, and not a byte of others."""
        gfn = self.BUSY_GFN
        fail = ("--fail", f"{gfn * 4096:#x}@300000")
        for backing, nr in (("thp", 512), ("4k", 1), ("hugetlb-2m", 512), ("hugetlb-1g", 1 << 18)):
            for promote in ("off", "now", "idle"):
                with self.subTest(backing=backing, promote=promote):
                    args = (*fail, "--backing", backing, "--promote", promote)
                    out = run_json(TRACE, *args, "--failure-scope", "page")
                    lost = uses_after(300000, gfn, gfn + 1)
                    self.assertEqual(list(lost), [gfn])
                    self.check_lost(out, lost)
                    self.assertEqual(out["memory"]["pages_failed"], 1)
                    if backing != "4k":
                        self.assertEqual(out["mappings"]["pages_4k"], 511)
                        self.assertEqual(out["mappings"]["pages_2m"], BLOCKS - 1)
                    first = gfn // nr * nr
                    out = run_json(TRACE, *args, "--failure-scope", "folio")
                    lost = uses_after(300000, first, first + nr)
                    self.check_lost(out, lost, accepted_after(300000, first, first + nr))
                    self.assertEqual(out["memory"]["pages_failed"], nr)

    def test_in_a_1g_leaf(self):
        """A page of a 1G leaf fails: the rest is in 2M leaves, and in 4K ones around it."""
        gfn = self.BUSY_GFN
        out = run_json(TRACE, "--backing", "hugetlb-1g", "--pages", "1g", "--accept", "eager",
                       "--promote", "now", "--fail", f"{gfn * 4096:#x}@300000")
        self.check_lost(out, uses_after(300000, gfn, gfn + 1))
        self.assertEqual(out["mappings"]["pages_1g"], 1)
        self.assertEqual(out["mappings"]["pages_2m"], 511)
        self.assertEqual(out["mappings"]["pages_4k"], 511)

    def test_before_accept_and_shared(self):
        """Pages fail that the guest hasn't accepted, that are shared, and that nothing backs."""
        gfn = self.BUSY_GFN
        shared = ("--share", f"{gfn * 4096:#x}:16K@200000", "--unshare",
                  f"{gfn * 4096:#x}:16K@500000")
        for backing in BACKINGS:
            with self.subTest(backing=backing):
                out = run_json(TRACE, "--backing", backing, *shared, "--fail",
                               f"{gfn * 4096:#x}@300000", "--promote", "now")
                self.check_lost(out, uses_after(300000, gfn, gfn + 1))
                out = run_json(TRACE, "--backing", backing, "--fail", "0x2c05000@1")
                self.check_lost(out, {})
        # A 1G page is there from its first use on, accepted or not: this is after some of it.
        first_use = next(i for i, e in enumerate(events()) if e[2] >> 9 == gfn >> 9) + 1
        self.assertGreater(first_use, 100)
        out = run_json(TRACE, "--backing", "hugetlb-1g", "--fail",
                       f"{gfn * 4096:#x}@{first_use}")
        self.assertEqual(out["guest"]["accepts_4k"], 511)
        self.check_sound(out)
        self.assertEqual(out["guest"]["machine_checks"], 1)
        self.assertEqual(out["guest"]["accesses_left_out"],
                         uses_after(first_use, gfn, gfn + 1)[gfn])

    def test_report(self):
        """The report for people says what failed, and how often the guest heard of it."""
        done = call("run", TRACE, "--fail", f"{self.BUSY_GFN * 4096:#x}@300000")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"pages whose memory failed +1\b")
        self.assertRegex(done.stdout, r"machine checks +1\b")


class PlantedBugs(Memory):
    SHARE = ("--backing", "hugetlb-2m", "--share", "0x6401000:4K@300000")

    def test_splits_mapped_folio(self):
        """
        The file takes a folio apart under its leaf. By the rule of folios MMU and TDX catch that when the
        leaf goes. Who trusts goes on, and so does anybody by the rule of the original huge page, which
        can't tell: the neighbours' bytes go with the leaf, and the guest finds it out.
        """
        where = {"mmu": "mapping check of the MMU", "tdx": "mapping check before TDH.MEM.PAGE.REMOVE"}
        for check in ("mmu", "tdx", "trust"):
            for form in ("original", "folio"):
                for accept in ("lazy", "touch"):
                    with self.subTest(check=check, form=form, accept=accept):
                        out = run_json(TRACE, *self.SHARE, "--bug", "gmem-splits-mapped-folio",
                                       "--mapping-check", check, "--mapping-form", form, "--accept",
                                       accept, program=CHECKING, status=1)
                        dead = out["outcome"].get("vm_dead", "")
                        if form == "folio" and check != "trust":
                            self.assertIn(where[check], dead)
                        elif accept == "lazy":
                            self.assertIn("access before accept", dead)
                        else:
                            self.assertGreater(out["integrity"]["errors"], 0)

    def test_splits_mapped_folio_by_itself(self):
        """With the bug alone a run converts a page where it shows, and says how to repeat it."""
        done = call("run", TRACE, "--bug", "gmem-splits-mapped-folio", program=CHECKING)
        self.assertEqual(done.returncode, 1)
        line = next(l for l in done.stderr.splitlines() if l.startswith("to reproduce: "))
        args = line.removeprefix("to reproduce: septum ").split()
        self.assertIn("--share", args)
        self.assertEqual(call(*args, program=CHECKING).returncode, 1)
        args = args[:args.index("--bug")]
        self.assertEqual(call(*args, program=CHECKING).returncode, 0)

    def test_partial_split(self):
        """
        A split over two huge pages fails half-way, and the first stays apart. That is a matter for who
        checks when a leaf lies across it, which in the orders that split leaves first none does; the
        retry of the guest completes the split, so that whoever trusts loses nothing.
        """
        where = {"mmu": "mapping check of the MMU", "tdx": "mapping check before TDH.MEM.PAGE.DEMOTE"}
        cut = self.cut_trace(40000)
        for check in ("mmu", "tdx", "trust"):
            for order in ("split-folio-zap", "zap-folio", "folio-zap"):
                for allocation in (2, 12, 22):
                    with self.subTest(check=check, order=order, allocation=allocation):
                        caught = order == "folio-zap" and check != "trust"
                        out = run_json(cut, "--bug", "gmem-partial-split-no-merge", "--restructure",
                                       "late", "--mapping-form", "folio", "--mapping-check", check,
                                       "--convert-order", order, "--backing", "hugetlb-2m",
                                       "--share", "0x1300000:2M@20000", "--fail-alloc",
                                       f"{allocation}@20000", program=CHECKING,
                                       status=1 if caught else 0)
                        self.assertEqual(out["exits"]["map_gpa"], 2)
                        self.assertEqual(out["policy"]["fail-alloc"], [f"{allocation}@20000"])
                        if caught:
                            self.assertIn(where[check], out["outcome"]["vm_dead"])
                        else:
                            self.check_sound(out)

    def test_failed_allocations(self):
        """Without a bug no allocation that fails in a conversion loses a byte, whatever the order."""
        cut = self.cut_trace(40000)
        for late in ("prealloc", "late"):
            for order in ("split-folio-zap", "zap-folio", "folio-zap"):
                for allocation in range(1, 24, 2):
                    with self.subTest(late=late, order=order, allocation=allocation):
                        out = run_json(cut, "--restructure", late, "--convert-order", order,
                                       "--backing", "hugetlb-2m", "--share", "0x1300000:2M@20000",
                                       "--unshare", "0x1300000:2M@30000", "--promote", "now",
                                       "--fail-alloc", f"{allocation}@20000", program=CHECKING,
                                       recorded=False)
                        self.check_sound(out)

    def test_release_build_fails_no_allocations(self):
        """Allocations fail on demand in the checking build; elsewhere the option is refused."""
        done = call("run", TRACE, "--fail-alloc", "3@1000", program=SEPTUM)
        self.assertEqual(done.returncode, 2)
        self.assertIn("checking build", done.stderr)


if __name__ == "__main__":
    unittest.main()
