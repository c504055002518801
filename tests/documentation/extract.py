#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the programs that stand in the documentation into files, so that the build compiles them.

A program is a block of C with a main function. Usage: extract.py FOLDER FILE.md ...
Prints the path of each file written. A file is left untouched if its content has not changed.
"""

import pathlib
import re
import sys

BLOCK = re.compile(r"^```c\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        page = pathlib.Path(name)
        programs = [code for code in BLOCK.findall(page.read_text()) if "int main(" in code]
        for number, code in enumerate(programs, 1):
            path = folder / f"{page.stem.lower()}_{number}.c"
            if not path.exists() or path.read_text() != code:
                path.write_text(code)
            print(path)


main()
