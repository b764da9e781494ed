"""What may not stand in the repository: marks of unfinished work, paths of somebody's machine, tests that sleep or take fixed ports."""
import re
import sys

from tree import code_only, files, read, report

MARK = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
HOME = re.compile(r"(?<![\w.])/(home/\w+|root|work)/")
RAW_ENV = re.compile(r"\b(secure_)?getenv\s*\(")
SLEEP = re.compile(r"\b(sleep|usleep|nanosleep)\s*\(")
SELF = "tests/lint/text.py"


def main():
    problems = []
    for path in files():
        if path == SELF or path.endswith((".jsonl", ".png", "package-lock.json")):
            continue
        text = read(path)
        for number, line in enumerate(text.split("\n"), 1):
            if MARK.search(line):
                problems.append(f"{path}:{number}: a mark of unfinished work")
            if HOME.search(line):
                problems.append(f"{path}:{number}: a path of one machine")
        if path.endswith(".c"):
            bare = code_only(text)
            if RAW_ENV.search(bare) and not path.startswith("tests/") and path != "libkombi/src/config.c":
                problems.append(f"{path}: getenv() outside of config.c; add an option row")
            # A retry of an outgoing call backs off on its worker thread: fetch.c may.
            if SLEEP.search(bare) and not path.startswith("tests/") and path != "libkombi/src/fetch.c":
                problems.append(f"{path}: sleeps; wait for an event or a condition instead")
    return report(problems)


sys.exit(main())
