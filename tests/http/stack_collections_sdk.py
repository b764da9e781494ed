#!/usr/bin/env python3
"""Collections under the official PocketBase SDK: tests/sdk/collections.mjs. Needs node and npm; says so and is skipped without them.

Run by: tests/support/captive stack $PWD/tests/http/stack_collections_sdk.py
"""
# captive-env: STACKKITS_URL=http://127.0.0.1:9
import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from sdk import MISSING, SDK, SKIPPED, install  # noqa: E402
from stack_world import StackWorld  # noqa: E402


def main():
    if not install():
        print(MISSING)
        return SKIPPED
    world = StackWorld()
    world.tenant("garden", "enterprise")
    environment = os.environ | {
        "KOMBI_TENANT_URL": os.environ["KOMBI_URL"] + "/tenant/garden",
        "KOMBI_ADMIN_TOKEN": world.enter("ada", "garden")["token"],
        "KOMBI_MEMBER_TOKEN": world.enter("ben", "garden")["token"],
    }
    return subprocess.run(["node", str(SDK / "collections.mjs")], env=environment, check=False).returncode


sys.exit(main())
