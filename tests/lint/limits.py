"""Sizes and banned functions: 80 lines a function, 800 a file, 6 parameters. --stats prints the distribution."""
import json
import re
import subprocess
import sys

from tree import code_only, files, read, report

FUNCTION_LINES = 80
FILE_LINES = 800
PARAMETERS = 6
BANNED = re.compile(
    r"\b(strcpy|strcat|strncpy|strncat|sprintf|vsprintf|gets|atoi|atol|atoll|atof|strtok|system|popen|alloca|tmpnam|mktemp)\s*\(")


def functions(paths):
    if not paths:
        return
    out = subprocess.run(
        ["ctags", "--output-format=json", "--kinds-C=f", "--fields=+neS", "-f", "-", *paths],
        capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        tag = json.loads(line)
        if tag.get("kind") == "function" and "end" in tag:
            yield tag


def parameters(signature):
    inner = signature.strip()[1:-1].strip()
    if inner in ("", "void"):
        return 0
    depth = count = 0
    for char in inner:
        depth += char in "(["
        depth -= char in ")]"
        count += char == "," and depth == 0
    return count + 1


def backward_gotos(path, bare):
    """A goto may only jump forward: to leave."""
    for match in re.finditer(r"\bgoto\s+(\w+)\s*;", bare):
        label = re.search(rf"^{match.group(1)}\s*:", bare[match.end():], re.M)
        if not label:
            line = bare.count("\n", 0, match.start()) + 1
            yield f"{path}:{line}: goto {match.group(1)} jumps backwards"


def main():
    paths = files("*.c", "*.h")
    problems, lengths = [], []
    for path in paths:
        text = read(path)
        lines = text.count("\n")
        if lines > FILE_LINES:
            problems.append(f"{path}: {lines} lines, at most {FILE_LINES}")
        bare = code_only(text)
        for match in BANNED.finditer(bare):
            line = bare.count("\n", 0, match.start()) + 1
            problems.append(f"{path}:{line}: {match.group(1)}() is not used in this code base")
        problems.extend(backward_gotos(path, bare))
    for tag in functions([p for p in paths if p.endswith(".c")]):
        length = tag["end"] - tag["line"] + 1
        if not tag["path"].startswith("tests/"):
            lengths.append(length)
        if length > FUNCTION_LINES:
            problems.append(f"{tag['path']}:{tag['line']}: {tag['name']}() has {length} lines, at most {FUNCTION_LINES}")
        n = parameters(tag.get("signature", "()"))
        if n > PARAMETERS:
            problems.append(f"{tag['path']}:{tag['line']}: {tag['name']}() takes {n} parameters, at most {PARAMETERS}")
    if "--stats" in sys.argv and lengths:
        lengths.sort()
        print(f"{len(lengths)} functions: median {lengths[len(lengths) // 2]}, "
              f"p90 {lengths[len(lengths) * 9 // 10]}, longest {lengths[-1]} lines")
    return report(problems)


sys.exit(main())
