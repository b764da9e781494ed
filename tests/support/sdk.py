"""The official PocketBase SDK and what it needs in node, installed once for all tests that use it."""
import fcntl
import json
import pathlib
import shutil
import subprocess
import sys

SDK = pathlib.Path(__file__).resolve().parent.parent / "sdk"
SKIPPED = 77
MISSING = "the PocketBase SDK cannot be installed here: node, npm and a registry are needed"


def install():
    """False: not possible here. Tests that run side by side wait for the first one's installation."""
    if not shutil.which("node") or not shutil.which("npm"):
        return False
    with open(SDK / "package.json", encoding="utf-8") as package:
        fcntl.flock(package, fcntl.LOCK_EX)
        if all((SDK / "node_modules" / name).is_dir() for name in json.load(package)["dependencies"]):
            return True
        return subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=SDK, check=False,
                              stdout=sys.stderr).returncode == 0
