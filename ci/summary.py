# SPDX-License-Identifier: MIT
"""summary.py FOLDER: adds up what ci/test found and prints it, the total last.

The folder holds, for each configuration, either NAME.xml, which ctest wrote, or NAME.checks: lines
of "passed WHAT", "failed WHAT" or "skipped WHAT: REASON". The hard part is that one test of ctest is a program with many
tests in it, of cmocka or of Python's unittest: these are counted one by one where the output shows
them. A program that failed otherwise, by a crash or a time-out, is one failed test more. Exits with
1 unless something passed and nothing failed.
"""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

CMOCKA = re.compile(r"\[ +(RUN|OK|FAILED|SKIPPED) +\] (\w+)$")
UNITTEST = re.compile(r"\s*(\w+) \(\w+\.(\w+)[\w.]*\)")
UNITTEST_END = re.compile(r"(?:^|\.\.\. )(ok|FAIL|ERROR|expected failure|skipped (['\"])(.*)\2)$")
PLACE = re.compile(r"\[ +LINE +\]|: Skipped!")


class Result:
    """What became of the tests of one program, or of one configuration."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        text = f"{self.passed} passed, {len(self.failed)} failed"
        return text + (f", {len(self.skipped)} skipped" if self.skipped else "")


def read_cmocka(program, lines):
    """Counts cmocka's lines. What a test printed before it was skipped is its reason."""
    result = Result()
    running = None
    said = []
    for line in lines:
        match = CMOCKA.match(line)
        what, name = match.groups() if match else (None, None)
        if what == "RUN":
            running, said = name, []
        elif running is None or name != running:
            # Between the tests; or cmocka's closing lists, which name the same tests again.
            if line and not PLACE.search(line):
                said.append(line.removeprefix("skipped: "))
        else:
            if what == "OK":
                result.passed += 1
            elif what == "FAILED":
                result.failed.append(f"{program}: {name}")
            else:
                result.skipped.append((f"{program}: {name}", "; ".join(said) or "no reason given"))
            running = None
    if running is not None:
        result.failed.append(f"{program}: {running}: never ended")
    return result


def read_unittest(program, lines):
    """Counts the lines of `python3 -m unittest -v`."""
    result = Result()
    running = None
    for line in lines:
        match = UNITTEST.match(line)
        if match:
            running = f"{match.group(2)}.{match.group(1)}"
        end = UNITTEST_END.search(line)
        if not end or running is None:
            continue
        if end.group(1) in ("ok", "expected failure"):
            result.passed += 1
        elif end.group(3) is not None:
            result.skipped.append((f"{program}: {running}", end.group(3)))
        else:
            result.failed.append(f"{program}: {running}")
        running = None
    return result


def read_program(case):
    """Counts one <testcase> of ctest's."""
    program = case.get("name")
    status = case.get("status")
    lines = (case.findtext("system-out") or "").splitlines()
    result = read_cmocka(program, lines)
    result.add(read_unittest(program, lines))
    found = result.passed + len(result.failed) + len(result.skipped)

    if status == "run":
        if not found:
            result.passed = 1
    elif case.find("skipped") is not None and status == "notrun" and not result.failed:
        reason = lines[-1] if lines else case.find("skipped").get("message") or "no reason given"
        result.skipped.append((program, reason))
    elif not result.failed:
        failure = case.find("failure")
        why = failure.get("message") if failure is not None else status
        result.failed.append(f"{program}: {why or 'failed'}")
    return result


def read_junit(path):
    result = Result()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        result.add(read_program(case))
    if not (result.passed or result.failed or result.skipped):
        result.failed.append("no test ran")
    return result


def read_checks(path):
    result = Result()
    for line in path.read_text().splitlines():
        status, _, what = line.partition(" ")
        if status == "passed":
            result.passed += 1
        elif status == "skipped":
            name, _, reason = what.partition(": ")
            result.skipped.append((name, reason or "no reason given"))
        else:
            result.failed.append(what)
    return result


def main(folder):
    total = Result()
    # In the order in which the configurations ran.
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        result = read_junit(path) if path.suffix == ".xml" else read_checks(path)
        print(f"{path.stem}: {result}")
        for name, reason in result.skipped:
            print(f"    skipped: {name}: {reason}")
        for name in result.failed:
            print(f"    FAILED: {name}")
        total.add(result)
    print(f"\n{total}")
    return 0 if total.passed and not total.failed else 1


sys.exit(main(Path(sys.argv[1])))
