"""What the checks share: the C files of the tree, and their text without comments and strings."""
import re
import subprocess

SERVICES = ("gateway", "admin", "stack", "sim", "stackkits")


def files(*patterns):
    """Paths that git tracks or would track, present in the work tree."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns],
                         capture_output=True, text=True, check=True).stdout
    import os
    return [path for path in out.split("\n") if path and os.path.isfile(path)]


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text, keep_strings=False):
    """The text with comments (and strings) blanked; line numbers stay."""
    def blank(match):
        token = match.group(0)
        if token[0] in "\"'" and keep_strings:
            return token
        return re.sub(r"[^\n]", " ", token)
    return TOKEN.sub(blank, text)


def report(problems):
    for problem in problems:
        print(problem)
    return 1 if problems else 0
