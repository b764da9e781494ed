#!/usr/bin/env python3
"""Every way of signing in under the official PocketBase SDK, at home: tests/sdk/auth.mjs against a self-hosted tenant
whose users register themselves. Needs node and npm; says so and is skipped without them.

Run by: tests/support/captive stack $PWD/tests/http/stack_auth_sdk.py
"""
# captive-env: KOMBIFY_DEPLOYMENT_MODE=self-hosted STACKKITS_URL=http://127.0.0.1:9
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "fakes")]

from oidc import Oidc  # noqa: E402
from sdk import MISSING, SDK, SKIPPED, install  # noqa: E402


def post(path, body):
    request = urllib.request.Request(os.environ["KOMBI_URL"] + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def superuser():
    """The first one, made with the token that a new self-hosted instance writes."""
    token = pathlib.Path(os.environ["KOMBI_DATA_DIR"], "setup-token").read_text().strip()
    post("/api/x/setup", {"token": token, "email": "root@example.com", "password": "correct horse"})
    return post("/tenant/default/api/collections/_superusers/auth-with-password",
                {"identity": "root@example.com", "password": "correct horse"})["token"]


def main():
    if not install():
        print(MISSING)
        return SKIPPED
    fake = Oidc()
    fake.people["cat"] = {"sub": "1", "email": "cat@example.com", "email_verified": True, "name": "Cat"}
    environment = os.environ | {
        "KOMBI_TENANT_URL": os.environ["KOMBI_URL"] + "/tenant/default",
        "KOMBI_ADMIN_TOKEN": superuser(),
        "TEST_PROVIDER": f"http://127.0.0.1:{fake.server_address[1]}",
    }
    return subprocess.run(["node", str(SDK / "auth.mjs")], env=environment, check=False).returncode


sys.exit(main())
