#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the programs that stand in the documentation into files, so that the build compiles them.

A program is a block of C or C++ with a main function; the file is called as its page and its
chapter, which has no second one. Usage: extract.py FOLDER FILE.md ... Prints the path of each file
written. A file is left untouched if its content has not changed.
"""

import pathlib
import re
import sys

# A heading, or a block.
PART = re.compile(r"^#+ ([^\n]*)$|^```(c|cpp)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(page):
    """Yields (name of the file, text) of each program of the page."""
    chapter = ""
    for heading, language, text in PART.findall(page.read_text(encoding="utf-8")):
        if heading:
            chapter = heading
        elif "int main(" in text:
            words = re.findall(r"[a-z0-9]+", f"{page.stem} {chapter}".lower())
            yield f"{'_'.join(words)}.{language}", text


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for page in sys.argv[2:]:
        for name, text in programs(pathlib.Path(page)):
            if name in written:
                sys.exit(f"{page}: two programs in one chapter: {name}")
            written.add(name)
            path = folder / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
            print(path)


main()
