#!/usr/bin/env python3
"""The records API under the official PocketBase SDK: makes a tenant with an admin and a member through the SSO
exchange, then runs tests/sdk/records.mjs against it. Needs node and npm; says so and is skipped without them."""
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sdk import MISSING, SDK, SKIPPED, install  # noqa: E402

URL = os.environ["KOMBI_URL"]
FIELDS = ("X-User-ID", "X-User-Email", "X-User-Name", "X-Org-ID", "X-User-Roles", "X-Subscription-Plan", "X-Tenant-ID")


def secret():
    with open(os.environ["KOMBI_SERVICE_SECRET_FILE"], "rb") as file:
        return file.read().removesuffix(b"\n")


def pair_key(caller, callee):
    """HKDF-SHA256 (RFC 5869) without salt, one block."""
    prk = hmac.new(bytes(32), secret(), "sha256").digest()
    return hmac.new(prk, f"kombi pair v1 {caller} {callee}".encode() + b"\1", "sha256").digest()


def enter(user, org):
    """A session token, as the gateway gets it for a person who launches the homelab."""
    key, at = pair_key("gateway", "stack"), int(time.time())
    values = {"X-User-ID": user, "X-User-Email": f"{user}%40example.com", "X-User-Name": user, "X-Org-ID": org,
              "X-Subscription-Plan": "pro"}
    text = f"kombi-proof-v1\n{at}\nPOST\nstack\n" + "".join(values.get(f, "") + "\n" for f in FIELDS)
    mac = hmac.new(key, text.encode(), "sha256").hexdigest()
    proof = {"X-Kombi-Proof": f"t={at},k={hashlib.sha256(key).hexdigest()[:8]},v1={mac}"}
    request = urllib.request.Request(URL + "/api/internal/sso/exchange", data=b"", method="POST", headers=values | proof)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def main():
    if not install():
        print(MISSING)
        return SKIPPED
    admin, member, stranger = enter("ada", "org-sdk"), enter("ben", "org-sdk"), enter("eve", "org-other")
    environment = os.environ | {
        "KOMBI_TENANT_URL": f"{URL}/tenant/{admin['tenantSlug']}",
        "KOMBI_ADMIN_TOKEN": admin["token"],
        "KOMBI_MEMBER_TOKEN": member["token"],
        "KOMBI_MEMBER_ID": member["userId"],
        "KOMBI_STRANGER_TOKEN": stranger["token"],
    }
    return subprocess.run(["node", os.path.join(SDK, "records.mjs")], env=environment, check=False).returncode


sys.exit(main())
