#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The first step of docs/guide.md, word for word: its two blocks of commands, in order, each where
the guide says, in a fresh copy of the sources and with a home that is empty.

Usage: first_step.py SOURCES FOLDER
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys


def block(chapter, language):
    """The blocks of a language in a chapter."""
    return re.findall(rf"^```{language}\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)


def run(commands, folder, home):
    print(f"in {folder}:\n{commands}", flush=True)
    subprocess.run(["sh", "-ex"], input=commands.encode(), cwd=folder, check=True,
                   env={**os.environ, "HOME": str(home)})


def main():
    sources, folder = (pathlib.Path(path).resolve() for path in sys.argv[1:])
    guide = (sources / "docs/guide.md").read_text(encoding="utf-8")
    chapter = re.search(r"^## Your first server$(.*?)^## ", guide, re.MULTILINE | re.DOTALL)[1]
    install, build = block(chapter, "sh")
    (program,), (project,) = block(chapter, "c"), block(chapter, "cmake")

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sources, folder / "portico", ignore=shutil.ignore_patterns(".git", "build"))
    run(install, folder / "portico", folder)

    first = folder / "first"
    first.mkdir()
    (first / "first.c").write_text(program, encoding="utf-8")
    (first / "CMakeLists.txt").write_text(project, encoding="utf-8")
    run(build, first, folder)
    if not os.access(first / "build/first", os.X_OK):
        sys.exit("build/first was not made")


main()
