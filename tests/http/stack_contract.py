#!/usr/bin/env python3
"""Every route of stack held to the contract."""
# captive-env: STACKKITS_URL=http://127.0.0.1:9
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from contract import Contract, World  # noqa: E402
from stack_world import StackWorld  # noqa: E402

SLUG = "contract"


class Stack(World):
    service = "stack"
    signed = {"POST /api/x/setup": 404}  # an instance of many is not set up by it
    lists = ("GET /tenant/{slug}/dashboard", "GET /tenant/{slug}/_", "GET /tenant/{slug}/_/")

    # The set-up of an instance at home is no route of a shared one.
    def of_another_contract(self, path):
        return path.startswith(("/tenant/{slug}/api/", "/api/collections", "/api/files/"))

    def missing(self, path, name):
        # To who holds a session of another tenant an unknown tenant is one more tenant that is not his.
        return 401 if name == "slug" and path.startswith("/tenant/") else 404

    def __init__(self):
        self.world = world = StackWorld()
        world.tenant(SLUG, "enterprise", maxStacks=-1)
        for user in ("owner", "viewer", "member"):
            world.enter(user, SLUG)
        world.set_role("viewer", SLUG, "viewer")
        self.stack = self.made("POST", "/v1/stacks", 201, {"name": "home", "spec": "name: home\n"})["id"]
        self.job = self.made("POST", f"/v1/stacks/{self.stack}/validate", 202)["jobId"]
        self.invitation = self.made("POST", "/v1/tenant/invitations", 201, {"email": "contract@example.test"})["id"]

        self.item = self.made("POST", "/v1/wallet/items", 201, {"key": "contract", "value": "x"})["id"]

    def made(self, method, target, status, body=None):
        answer = self.world.ask("owner", f"org-{SLUG}", method, target, body, tenant=SLUG)
        assert answer.status == status, answer
        return answer.data

    def member(self, user, method, path):
        """By the gateway's word, or below /tenant/ by the session."""
        if path.startswith("/tenant/"):
            return {"Authorization": self.world.sessions[user, SLUG]["token"]}
        return self.user(method, user=user, org=f"org-{SLUG}", tenant=SLUG)

    def good(self, method, path, permission):
        if permission["kind"] == "service":
            return self.caller(permission["callers"][0])
        return self.member("owner", method, path)

    def too_low(self, method, path, permission):
        if permission["kind"] != "tenant":
            return {}
        callers = {"a stranger": self.user(method, user="stranger", org="org-elsewhere", tenant=SLUG)}
        lower = {"viewer": [], "member": ["viewer"], "admin": ["viewer", "member"]}[permission["role"]]
        return callers | {f"a {user}": self.member(user, method, path) for user in lower}

    def params(self, path):
        ids = {"/jobs/": self.job, "/members/": self.world.sessions["member", SLUG]["userId"], "/invitations/": self.invitation, "/wallet/": self.item}
        return {"slug": SLUG, "id": next((known for part, known in ids.items() if part in path), self.stack)}

    def body(self, method, path):
        if path.endswith("/v1/tenant/invitations"):
            return {"email": "another@example.test"}
        if path == "/api/internal/feature-flags/apply":
            return {"flags": {}, "version": 1}
        return {"slug": "contract-2", "name": "x", "zitadelOrgId": "org-2"} if path == "/api/internal/tenants" else {}


Contract(Stack()).run()
