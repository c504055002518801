#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a page quotes of files stands there, line by line: each block of C or C++ that is no program
of its own. Indentation does not count, nor what makes a line one of a comment.

Usage: quotes.py FILE.md FOLDER
"""

import pathlib
import re
import sys


def lines(text):
    """The lines as they are compared."""
    return [re.sub(r"^\s*(\* )?\s*", "", line).rstrip() for line in text.splitlines()]


def quotes(text):
    """The blocks of a page that are no programs."""
    blocks = re.findall(r"^```(?:c|cpp)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "int main(" not in block]


def stands_in(quoted, file):
    count = len(quoted)
    return any(file[at:at + count] == quoted for at in range(len(file) - count + 1))


def main():
    page, folder = (pathlib.Path(path) for path in sys.argv[1:])
    files = [lines(path.read_text(encoding="utf-8"))
             for path in folder.iterdir() if path.suffix in (".c", ".cpp", ".h", ".m")]
    found = quotes(page.read_text(encoding="utf-8"))
    wrong = [block for block in found if not any(stands_in(lines(block), file) for file in files)]
    for block in wrong:
        print(f"in no file of {folder}:\n{block}")
    if wrong or not found:
        sys.exit(1)
    print(f"{len(found)} quotes are right")


main()
