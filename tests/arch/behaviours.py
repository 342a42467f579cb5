# SPDX-License-Identifier: MIT
"""docs/behaviours.md has a row for each behaviour, with tests that exist, run and name the row.

usage: behaviours.py ROOT | --self-test
"""
import re
import sys
from pathlib import Path

ROWS = range(1, 101)
# Rows that may say "pending" instead of naming tests: none.
MAY_BE_PENDING = range(0)


def table_of(doc):
    """[(number, behaviour, tests)] of the table's rows, as text."""
    return re.findall(r"^\|\s*(\d+)\s*\|\s*([^|]*?)\s*\|\s*([^|]*?)\s*\|$", doc, re.M)


def rows_named(comment):
    """{1, 3, 4, 5} of "Rows 1 and 3 to 5: ..."."""
    text = re.sub(r"\s*\n \*\s*", " ", comment)
    rows = set()
    for names in re.findall(r"\bRows? ((?:\d+(?:, | and | to )?)+)", text):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", names):
            rows |= set(range(int(first), int(last or first) + 1))
    return rows


def functions_of(source):
    """{name: rows that the comment right above it names} of the test functions that run."""
    found = re.findall(r"^(?:(/\*(?:(?!\*/).)*\*/)\n)?static void (\w+)\(void \*\*state\)$", source,
                       re.M | re.S)
    return {name: rows_named(comment) for comment, name in found
            if re.search(rf"\bcmocka_unit_test\({name}\)", source)}


def complaints(doc, files):
    """files: {path below tests/: its text}"""
    table = table_of(doc)
    numbers = [int(number) for number, _, _ in table]
    if numbers != list(ROWS):
        yield f"the rows are {numbers}, not {ROWS.start} to {ROWS.stop - 1} in order"
    functions = {path: functions_of(text) for path, text in files.items()}
    for number, behaviour, tests in table:
        if not behaviour:
            yield f"row {number} has no words"
        if tests == "pending":
            if int(number) not in MAY_BE_PENDING:
                yield f"row {number} can't be pending"
            continue
        named = re.findall(r"`([\w/]+\.c):(\w+)`", tests)
        if not named or ", ".join(f"`{path}:{name}`" for path, name in named) != tests:
            yield f"row {number} names no tests, or something else: {tests}"
        for path, name in named:
            rows = functions.get(path, {}).get(name)
            if rows is None:
                yield f"row {number}: {path} runs no {name}"
            elif int(number) not in rows:
                yield f"row {number}: the comment above {name} in {path} doesn't name the row"


def self_test():
    """A table that is right passes; one wrong row, name or comment doesn't."""
    assert rows_named("/* Row 7: a. */") == {7}
    assert rows_named("/*\n * Rows 1, 3 to 5 and\n * 9: b; Row 12, too.\n */") == {1, 3, 4, 5, 9, 12}
    assert not rows_named("/* A row of 5. */")
    source = "".join(f"/* Row {n}: does. */\nstatic void test_{n}(void **state)\n{{\n}}\n"
                     f"cmocka_unit_test(test_{n})\n" for n in ROWS)
    files = {"room/test_x.c": source}
    rows = {n: f"| {n} | words | `room/test_x.c:test_{n}` |\n" for n in ROWS}
    doc = "".join(rows.values())
    pending = MAY_BE_PENDING.start if MAY_BE_PENDING else None
    assert not list(complaints(doc, files))
    if pending:
        assert not list(complaints(doc.replace(rows[pending], f"| {pending} | words | pending |\n"),
                                   files))
    for bad in (doc.replace(rows[7], ""),
                doc + rows[7],
                doc.replace(rows[7], rows[8]),
                doc.replace("| 7 | words |", "| 7 | |"),
                doc.replace("`room/test_x.c:test_7`", "pending"),
                doc.replace("`room/test_x.c:test_7`", ""),
                doc.replace("`room/test_x.c:test_7`", "test_7"),
                doc.replace("`room/test_x.c:test_7`", "`room/test_y.c:test_7`"),
                doc.replace("`room/test_x.c:test_7`", "`room/test_x.c:test_0`"),
                doc.replace("`room/test_x.c:test_7`", "`room/test_x.c:test_8`")):
        assert list(complaints(bad, files)), bad
    for bad in (source.replace("/* Row 7: does. */\n", ""),
                source.replace("/* Row 7: does. */\n", "/* Row 7: does. */\n\n"),
                source.replace("Row 7:", "Row 70:"),
                source.replace("cmocka_unit_test(test_7)", "")):
        assert list(complaints(doc, {"room/test_x.c": bad})), bad


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    root = Path(sys.argv[1])
    files = {str(path.relative_to(root / "tests")): path.read_text()
             for path in (root / "tests").glob("*/test_*.c")}
    found = list(complaints((root / "docs/behaviours.md").read_text(), files))
    print("\n".join(found))
    print(f"{len(found)} complaints")
    return 1 if found else 0


sys.exit(main())
