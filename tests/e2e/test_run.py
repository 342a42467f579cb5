# SPDX-License-Identifier: MIT
"""`septum run` on the shipped trace: the counts that the trace and the algorithms dictate."""
import re
import unittest

from septum import CHECKING, SEPTUM, TRACE, call, run_json

PAGES, BLOCKS, CHECKS = 203035, 399, 401262


class ShippedTrace(unittest.TestCase):
    def check_sound(self, out):
        """No read finds anything but what was written, and nothing is left behind."""
        self.assertEqual(out["schema"], "septum.run/1")
        self.assertEqual(out["integrity"], {"checks": CHECKS, "errors": 0})
        self.assertEqual(out["guest"]["accesses"], 745168)
        self.assertEqual(out["guest"]["pages_touched"], PAGES)
        self.assertTrue(out["outcome"]["good"])
        self.assertEqual(out["outcome"]["frames_leaked"], 0)
        self.assertEqual(out["outcome"]["pamt_leaked"], 0)
        for name, row in out["seamcalls"].items():
            self.assertEqual(row["calls"], row["ok"] + row["busy"] + row["errors"], name)

    def test_2m(self):
        """At 2M every touched block is one AUG and about one exit."""
        out = run_json(TRACE, "--pages", "2m")
        self.check_sound(out)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.AUG"]["ok"], BLOCKS)
        self.assertLessEqual(out["exits"]["ept_violation"], 450)
        self.assertEqual(out["mappings"]["pages_2m"], BLOCKS)
        self.assertEqual(out["mappings"]["pages_4k"], 0)
        self.assertEqual(out["guest"]["accepts_2m"], BLOCKS)

    def test_4k(self):
        """At 4K every touched page is one AUG."""
        out = run_json(TRACE, "--pages", "4k")
        self.check_sound(out)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.AUG"]["ok"], PAGES)
        self.assertEqual(out["mappings"]["pages_4k"], PAGES)
        self.assertEqual(out["guest"]["accepts_4k"], PAGES)

    def test_4k_accepted_at_2m(self):
        """A guest that tries 2M over 4K mappings is told so once a block, and accepts it all."""
        out = run_json(TRACE, "--pages", "4k", "--accept-level", "2m")
        self.check_sound(out)
        self.assertEqual(out["guest"]["size_mismatches"], BLOCKS)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.AUG"]["ok"], BLOCKS * 512)

    def test_2m_accepted_at_4k(self):
        """A guest that accepts at 4K first inhibits huge mappings: all is mapped at 4K."""
        out = run_json(TRACE, "--accept-level", "4k")
        self.check_sound(out)
        self.assertEqual(out["mappings"]["pages_4k"], PAGES)
        self.assertEqual(out["mappings"]["pages_2m"], 0)

    def test_touch(self):
        """A guest that touches first gets a #VE for each block, and accepts there."""
        out = run_json(TRACE, "--accept", "touch")
        self.check_sound(out)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.AUG"]["ok"], BLOCKS)
        self.assertEqual(out["exits"]["accept_violation"], 0)

    def test_eager(self):
        """A guest that accepts all at start maps all of its memory."""
        out = run_json(TRACE, "--accept", "eager")
        self.check_sound(out)
        self.assertEqual(out["mappings"]["private_bytes"], out["guest"]["memory_bytes"])

    def test_small_folios(self):
        """A mapping is never larger than its folio: with 4K backing everything is 4K."""
        out = run_json(TRACE, "--backing", "4k", "--accept-level", "4k")
        self.check_sound(out)
        self.assertEqual(out["mappings"]["pages_4k"], PAGES)

    def test_module_without_enhanced_demote(self):
        """Without feature bit 51 private memory is 4K, whatever --pages says."""
        for module in ("1.5.05", "1.5.25"):
            out = run_json(TRACE, "--module", module, "--accept-level", "4k")
            self.check_sound(out)
            self.assertEqual(out["mappings"]["pages_2m"], 0)
            self.assertEqual(out["mappings"]["pages_4k"], PAGES)

    def test_dynamic_pamt(self):
        """Dynamic PAMT costs a pair for each 2M range in use at 4K, and none for 2M mappings."""
        huge = run_json(TRACE, "--dpamt", "on")
        small = run_json(TRACE, "--dpamt", "on", "--pages", "4k")
        static = run_json(TRACE, "--dpamt", "off")
        for out in (huge, small, static):
            self.check_sound(out)
        self.assertLess(huge["memory"]["dpamt_pages"], 2 * 32)
        self.assertGreaterEqual(small["memory"]["dpamt_pages"], 2 * BLOCKS)
        self.assertNotIn("dpamt_pages", static["memory"])
        self.assertGreater(static["memory"]["pamt_static_bytes"],
                           10 * huge["memory"]["pamt_static_bytes"])

    def test_discard(self):
        """Memory given back and taken again while the guest runs loses nothing else."""
        out = run_json(TRACE, "--discard", "0x6400000:32M@300000", "--discard",
                       "0x6400000:2M@500000")
        self.assertEqual(out["integrity"]["errors"], 0)
        self.assertTrue(out["outcome"]["good"])
        self.assertEqual(out["mmu"]["zaps"] > 0, True)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.REMOVE"]["errors"], 0)
        self.assertEqual(out["seamcalls"]["TDH.MEM.TRACK"]["errors"], 0)

    def test_discard_of_pages(self):
        """Holes of any whole pages split what they cut, and lose nothing beside them."""
        out = run_json(TRACE, "--discard", "0x6401000:12K@300000", "--discard",
                       "0x6800000:5M@300000", "--promote", "now")
        self.check_sound(out)
        self.assertEqual(out["mmu"]["splits"], 2)
        self.assertEqual(out["mappings"]["pages_2m"], BLOCKS)

    def test_touch_accepted_at_4k(self):
        """Touching first and accepting at 4K splits every block once, at its first accept."""
        out = run_json(TRACE, "--accept", "touch", "--accept-level", "4k")
        self.check_sound(out)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.AUG"]["ok"], BLOCKS)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.DEMOTE"]["ok"], BLOCKS)
        self.assertEqual(out["mmu"]["splits"], BLOCKS)
        self.assertEqual(out["guest"]["accepts_4k"], PAGES)
        self.assertEqual(out["mappings"]["pages_4k"], BLOCKS * 512)

    def test_16t_guest(self):
        """A guest of 16 TiB costs no more than what it touches."""
        out = run_json(TRACE, "--memory", "16T")
        self.check_sound(out)
        self.assertEqual(out["guest"]["memory_bytes"], 16 << 40)

    def test_more_vcpus_than_the_trace(self):
        """vCPUs without events of their own stop at once and disturb nothing."""
        out = run_json(TRACE, "--vcpus", "8")
        self.check_sound(out)
        self.assertEqual(out["guest"]["vcpus"], 8)

    def test_report(self):
        """The report for people shows 4K beside 2M and says what it means."""
        done = call("run", TRACE, "--compare")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"TDH\.MEM\.PAGE\.AUG, successful +203,035 +399\b")
        self.assertRegex(done.stdout, r"MMU and module +[\d.]+ ms +[\d.]+ ms")
        self.assertRegex(done.stdout, r"2M mappings: \d+ times fewer exits")
        self.assertLess(max(map(len, done.stdout.splitlines())), 160)
        self.assertIsNone(re.search(r"\bnan\b|\binf\b| -\d", done.stdout))


SPLIT_CHOICES = [("--split-range", where, "--split-metadata", metadata)
                 for where in ("ends", "walk", "two-walks")
                 for metadata in ("page", "vm-cache", "prealloc")]
BOUNCE = ("--share", "0x6401000:122M@300000/256K", "--unshare", "0x6401000:122M@500000/256K")
BOUNCE_PAGES = (122 << 20) // 4096


class Conversions(unittest.TestCase):
    check_sound = ShippedTrace.check_sound

    def test_bounce_buffer(self):
        """Busy memory shared and made private again is whole again in the end, whoever promotes."""
        for choice in SPLIT_CHOICES:
            for promote in ("now", "idle"):
                with self.subTest(choice=choice, promote=promote):
                    out = run_json(TRACE, *BOUNCE, "--promote", promote, *choice)
                    self.check_sound(out)
                    self.assertGreater(out["mmu"]["splits"], 0)
                    self.assertGreater(out["mmu"]["promotes"], 0)
                    self.assertEqual(out["mappings"]["pages_2m"], BLOCKS)
                    self.assertEqual(out["mappings"]["pages_4k"], 0)
                    self.assertEqual(out["mappings"]["private_bytes"], BLOCKS << 21)
                    self.assertEqual(out["mappings"]["shared_bytes"], 0)
                    self.assertEqual(out["guest"]["conversions_to_shared"], 488)
                    self.assertEqual(out["guest"]["conversions_to_private"], 488)
                    self.assertEqual(out["guest"]["pages_to_shared"], BOUNCE_PAGES)
                    self.assertEqual(out["guest"]["pages_to_private"], BOUNCE_PAGES)
                    self.assertEqual(out["exits"]["map_gpa"], 976)

    def test_with_nobody_listening(self):
        """The same when no stream is written and calls don't wait for each other to be ordered."""
        for choice in SPLIT_CHOICES[::4]:
            for promote in ("now", "idle"):
                with self.subTest(choice=choice, promote=promote):
                    out = run_json(TRACE, *BOUNCE, "--promote", promote, *choice, recorded=False)
                    self.check_sound(out)
                    self.assertEqual(out["mappings"]["pages_2m"], BLOCKS)

    def test_off_is_what_kvm_does(self):
        """Without promotion the cut blocks stay 4K, and the module is never asked to merge."""
        out = run_json(TRACE, *BOUNCE)
        self.check_sound(out)
        self.assertEqual(out["policy"]["promote"], "off")
        self.assertEqual(out["mmu"]["promotes"], 0)
        self.assertNotIn("TDH.MEM.PAGE.PROMOTE", out["seamcalls"])
        self.assertEqual(out["mappings"]["pages_2m"] + out["mappings"]["pages_4k"] // 512, BLOCKS)

    def test_at_once(self):
        """In one call only the two blocks at the ends are cut; those between come back at 2M."""
        out = run_json(TRACE, "--share", "0x6401000:122M@300000", "--unshare",
                       "0x6401000:122M@500000", "--promote", "now")
        self.check_sound(out)
        self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.DEMOTE"]["ok"], 2)
        self.assertEqual(out["mmu"]["promotes"], 2)
        self.assertEqual(out["mappings"]["pages_2m"], BLOCKS)

    def test_one_page(self):
        """A page inside a 2M leaf is one split, wherever it looks and whatever pays for it."""
        for choice in SPLIT_CHOICES:
            with self.subTest(choice=choice):
                out = run_json(TRACE, "--share", "0x2801000:4K@100000", *choice)
                self.check_sound(out)
                self.assertEqual(out["mmu"]["splits"], 1)
                self.assertEqual(out["seamcalls"]["TDH.MEM.PAGE.DEMOTE"]["ok"], 1)
                self.assertEqual(out["mappings"]["pages_2m"], BLOCKS - 1)
                self.assertEqual(out["mappings"]["shared_bytes"], 4096)

    def test_other_modes(self):
        """Conversions are as sound at 4K, without Dynamic PAMT, with small folios, and with touch."""
        for choice in (("--pages", "4k"), ("--dpamt", "off"), ("--backing", "4k"),
                       ("--accept", "touch"), ("--accept-level", "4k"), ("--accept", "eager"),
                       ("--module", "1.5.25"), ("--module", "next")):
            with self.subTest(choice=choice):
                out = run_json(TRACE, *BOUNCE, "--promote", "now", *choice)
                self.check_sound(out)

    def test_with_discards(self):
        """Holes in shared and in private memory, at the event of a conversion, lose nothing else."""
        out = run_json(TRACE, *BOUNCE, "--promote", "idle", "--discard", "0x6300000:4M@300000",
                       "--discard", "0x7000000:3M@400000", "--discard", "0x6401000:8M@500000")
        self.assertEqual(out["integrity"]["errors"], 0)
        self.assertTrue(out["outcome"]["good"])
        self.assertEqual(out["guest"]["discards"], 3)
        self.assertEqual(out["mappings"]["pages_2m"], BLOCKS)


class PlantedBugs(unittest.TestCase):
    def test_each_bug_is_caught(self):
        """A run with a planted bug ends in integrity errors, exit status 1, and says how to repeat it."""
        for bug in ("skip-kick", "skip-track", "wrong-pfn", "key-mixup", "stale-tlb"):
            for pages in ("2m", "4k"):
                with self.subTest(bug=bug, pages=pages):
                    out = run_json(TRACE, "--bug", bug, "--pages", pages, program=CHECKING, status=1)
                    self.assertGreater(out["integrity"]["errors"], 0)
        done = call("run", TRACE, "--bug", "wrong-pfn", program=CHECKING)
        self.assertEqual(done.returncode, 1)
        self.assertIn("to reproduce: septum run", done.stderr)

    def test_the_same_run_without_the_bug(self):
        """The discards that show a bug are harmless by themselves."""
        done = call("run", TRACE, "--bug", "skip-kick", program=CHECKING)
        line = next(l for l in done.stderr.splitlines() if l.startswith("to reproduce: "))
        args = line.removeprefix("to reproduce: septum ").replace(" --bug skip-kick", "").split()
        self.assertIn("--discard", args)
        again = call(*args, program=CHECKING)
        self.assertEqual(again.returncode, 0, again.stderr)

    def test_release_build_has_no_bugs(self):
        """Bugs exist only in the checking build; elsewhere the option is refused."""
        done = call("run", TRACE, "--bug", "skip-kick", program=SEPTUM)
        self.assertEqual(done.returncode, 2)
        self.assertIn("checking build", done.stderr)


if __name__ == "__main__":
    unittest.main()
