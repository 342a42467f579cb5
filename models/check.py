# SPDX-License-Identifier: MIT
"""Runs every model and mutant, exhaustively: one line each, exit status 1 on a surprise.

usage: check.py CONSTANTS-PROGRAM FOLDER

A model must hold; a mutant must break the property that stands beside it, and no other. Everything
that is made on the way lies in FOLDER.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parent
SECONDS = 60 # of processor time, for one search
PATIENCE = 900 # of any time: other work may slow us down
MEGABYTES = 1000
DEPTH = 3000000

# Model -> its runs: (definitions, what is checked): all assertions and deadlock, or an ltl formula
# under weak fairness. Then its mutants: (name, definitions, what is checked, what must break).
SAFETY = None
DEADLOCK = "deadlock"
PLAN = {
    "block_track_demote": (
        [("", SAFETY), ("", "host_gets_on"), ("", "hold_off_ends"), ("ANY_HOST", SAFETY)],
        [("SKIP_KICK", "", SAFETY, "no_stale_use"),
         ("SKIP_TRACK", "", SAFETY, "no_stale_use"),
         ("STALE_TLB", "", SAFETY, "no_stale_use"),
         ("LOOK_BEFORE_COUNT", "", SAFETY, "second_call_is_not_busy"),
         ("LOST_KICK", "", "host_gets_on", "host_gets_on"),
         ("LOCK_BEFORE_COUNT", "", SAFETY, DEADLOCK),
         ("EPOCH_BEFORE_BLOCK", "ANY_HOST", SAFETY, "no_stale_use"),
         ("TRACK_TWICE", "ANY_HOST", SAFETY, "one_old_epoch")]),
    "pamt_refcount": (
        [("", SAFETY), ("", "somebody_gets_on")],
        [("PUBLISH_BEFORE_ADD", "", SAFETY, "no_use_without_pair"),
         ("PUT_RACES_GET", "", SAFETY, "no_double_add"),
         ("NO_LOOK_UNDER_LOCK", "", SAFETY, "no_double_add"),
         ("FREE_BEFORE_PUT", "", SAFETY, "huge_has_no_pair")]),
    "frozen_entry": (
        [("", SAFETY), ("TWO_FAULTS", "frozen_ends"), ("TWO_FAULTS", "writer_gets_on")],
        [("HOOK_TWICE", "", SAFETY, "hook_once_per_change"),
         ("LEAVE_FROZEN", "", SAFETY, "mirror_is_external"),
         ("LOSER_DROPS_PAGE", "", SAFETY, "losers_keep_their_page"),
         ("RECLAIM_FIRST", "", SAFETY, "children_gone_first"),
         ("FREE_TOO_EARLY", "", SAFETY, "no_use_after_free")]),
    "conversion_fault": (
        [("", SAFETY), ("OVERLAP", SAFETY), ("ALONE", "conversion_ends")],
        [("SAME_SEQUENCE", "", SAFETY, "mapped_as_attributes"),
         ("END_BEFORE_ATTRIBUTES", "", SAFETY, "mapped_as_attributes"),
         ("ATTRIBUTE_FIRST", "", SAFETY, "mapped_as_attributes"),
         ("NO_RECHECK", "", SAFETY, "mapped_as_attributes"),
         ("BEGIN_RESETS", "OVERLAP", SAFETY, "mapped_as_attributes"),
         ("RANGE_AS_ASKED", "", SAFETY, "no_leaf_crosses"),
         ("NO_LOOK_AFTER_LOCK", "OVERLAP", SAFETY, "legal_split")]),
}


class Refused(Exception):
    """spin, the compiler or the program it made didn't do what it should; says what it said."""


def call(command, folder):
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                              timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Refused(f"{command[0]} took longer than {PATIENCE} s") from None
    return done.returncode, done.stdout + done.stderr


def generate(model, definitions, folder, constants):
    """pan.c from the model; Refused if spin complains."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pan.c").unlink(missing_ok=True)
    status, said = call(["spin", f"-Pgcc -std=gnu99 -E -x c -I{constants} -I{MODELS}", "-a",
                         *(f"-D{name}" for name in definitions), str(model)], folder)
    if status or re.search(r"\berror\b", said, re.I) or not (folder / "pan.c").exists():
        raise Refused("spin: " + said.strip())


def compile_and_run(formula, folder):
    """What the exhaustive search printed."""
    flags = (["-DSAFETY", "-DNOCLAIM"] if formula is SAFETY else ["-DNFAIR=3"])
    status, said = call(["gcc", "-O2", "-w", "-DCOLLAPSE", f"-DMEMLIM={MEGABYTES}", *flags, "-o",
                         "pan", "pan.c"], folder)
    if status:
        raise Refused("gcc: " + said.strip())
    search = [] if formula is SAFETY else ["-a", "-f", "-N", formula]
    script = f'ulimit -t {SECONDS}; ./pan -m{DEPTH} "$@"; status=$?; times; exit $status'
    status, said = call(["sh", "-c", script, "pan", *search], folder)
    if status > 128:
        raise Refused(f"the search was stopped by signal {status - 128}, after "
                      f"{seconds_used(said):.0f} s")
    return said


def broken_property(said, formula):
    """The name of what the search found broken; None if it went through all and found nothing."""
    if re.search(r"assertion violated", said):
        name = re.search(r"assertion violated .*\|\|(\w+)\) \(at depth", said)
        return name.group(1) if name else "an assertion without a name"
    if "invalid end state (" in said:
        return DEADLOCK
    if "acceptance cycle (" in said:
        return formula
    if not re.search(r"errors: 0\b", said):
        raise Refused("no result: " + said.strip())
    for limit in ("max search depth too small", "Search not completed", "reached -DMEMLIM"):
        if limit in said:
            raise Refused(f"not exhaustive: {limit}")
    return None


def seconds_used(said):
    """User and system time of the search, from the second line of the shell's `times`."""
    used = re.findall(r"^(\d+)m([\d.]+)s (\d+)m([\d.]+)s$", said, re.M)[1]
    return 60 * (int(used[0]) + int(used[2])) + float(used[1]) + float(used[3])


def figures(said):
    states = re.search(r"([\d.e+]+) states, stored", said)
    memory = re.search(r"([\d.]+)\s+total actual memory usage", said)
    return (int(float(states.group(1))) if states else 0,
            round(float(memory.group(1))) if memory else 0)


def run(job, build):
    """Return: (line to print, whether all is as it should be)."""
    model, mutant, definitions, formula, expected = job
    words = definitions.split() + ([f"MUTANT_{mutant}"] if mutant else [])
    name = " ".join([model, *words, formula or "assertions"])
    try:
        folder = build / "-".join([model, *words, formula or "safety"])
        generate(MODELS / f"{model}.pml", words, folder, build)
        said = compile_and_run(formula, folder)
        found = broken_property(said, formula)
    except Refused as error:
        return f"{name:<70}  {error}", False
    states, memory = figures(said)
    verdict = f"breaks {found}" if found else "holds"
    good = found == expected
    if not good:
        verdict += f"; expected: {f'breaks {expected}' if expected else 'holds'}"
    return (f"{name:<70} {states:>10,} states {memory:>5} MB {seconds_used(said):5.1f} s  "
            f"{verdict}", good)


def unknown_name_is_refused(build):
    """Half of why the constants are generated: a model can't name what no table has."""
    model = build / "unknown_name.pml"
    good = '#include "constants.pml"\nbyte state = SEPT_MAPPED;\ninit { state = SEPT_BLOCKED }\n'
    model.write_text(good)
    generate(model, [], build / "unknown_name", build)
    model.write_text(good.replace("SEPT_BLOCKED", "SEPT_BLOCKED_TWICE"))
    try:
        generate(model, [], build / "unknown_name", build)
    except Refused as error:
        return "SEPT_BLOCKED_TWICE" in str(error)
    return False


def jobs():
    for model, (runs, mutants) in PLAN.items():
        for definitions, formula in runs:
            yield model, None, definitions, formula, None
        for mutant, definitions, formula, expected in mutants:
            yield model, mutant, definitions, formula, expected


def main():
    if len(sys.argv) != 3:
        print(__doc__.splitlines()[2], file=sys.stderr)
        return 2
    program, build = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    build.mkdir(parents=True, exist_ok=True)
    constants = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    (build / "constants.pml").write_text(constants)
    refused = unknown_name_is_refused(build)
    print(f"{constants.count('#define')} constants from the tables; an unknown name is "
          f"{'refused' if refused else 'ACCEPTED'}", flush=True)
    surprises = 0 if refused else 1
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for line, good in pool.map(lambda job: run(job, build), jobs()):
            print(line if good else f"{line}  <-- surprise", flush=True)
            surprises += not good
    print(f"models: {surprises} surprises")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
