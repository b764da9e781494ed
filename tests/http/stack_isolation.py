#!/usr/bin/env python3
"""Every tenant route of stack, asked by owner, member, viewer, another tenant, a guest, and in a suspended tenant."""
# captive-env: STACKKITS_URL=http://127.0.0.1:9
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from isolation import Matrix  # noqa: E402
from stack_world import StackWorld  # noqa: E402

SECRET = "kept-from-others"
PEOPLE = {"owner": "ours", "member": "ours", "viewer": "ours", "neighbour": "theirs"}


class Stack(StackWorld):
    outsiders = ("neighbour at our tenant", "guest", "guest with our organisation", "neighbour's session at our tenant")
    neighbours = ("neighbour", "member")
    words = (SECRET,)

    def __init__(self):
        super().__init__()
        self.invited = 0
        for slug in ("ours", "theirs"):
            self.tenant(slug, "enterprise", maxStacks=-1)
        for who, slug in PEOPLE.items():
            self.enter(who, slug)
        self.set_role("viewer", "ours", "viewer")
        self.stack, self.job = self.make("owner")

    def make(self, who):
        """A stack of that person with a job, or of the owner, shared, where the person makes none."""
        maker = "owner" if who == "viewer" else who
        more = {"members": [self.sessions["viewer", "ours"]["userId"]]} if who == "viewer" else {}
        made = self.ask_as(maker, "POST", "/v1/stacks", {"name": SECRET, "spec": f"name: {SECRET}\n", **more})
        assert made.status == 201, made
        job = self.ask_as(maker, "POST", f"/v1/stacks/{made.data['id']}/validate")
        assert job.status == 202, job
        return made.data["id"], job.data["jobId"]

    def ask_as(self, who, method, target, body=None):
        name = who.split("'")[0].split(" ")[0]
        slug = PEOPLE.get(name, "ours")
        if target.startswith("/tenant/") and (name, slug) in self.sessions:
            return self.wire.call(method, target, body, {"Authorization": self.sessions[name, slug]["token"]})
        org = "org-ours" if slug == "ours" and who != "guest" else "org-theirs" if slug == "theirs" else "org-guest"
        selected = "ours" if "our tenant" in who else slug
        return self.ask(name, org, method, target, body, tenant=selected)

    def params(self, path, whose, who="owner"):
        slug = PEOPLE.get(who, "ours")
        if whose == "nobody":
            return {"slug": slug, "id": "job_01j0000000000000000000000z" if "/jobs/" in path else "stk_01j0000000000000000000000z"}
        return {"slug": slug, "id": self.id_of(path, "owner", self.stack, self.job)}

    def id_of(self, path, who, stack, job):
        """Of the kind that the path names."""
        if "/members/" in path:
            return self.sessions[who, PEOPLE[who]]["userId"]
        if "/invitations/" in path:
            return self.invite()
        if "/wallet/" in path:
            return self.keep(who)
        return job if "/jobs/" in path else stack

    def invite(self):
        self.invited += 1
        made = self.ask_as("owner", "POST", "/v1/tenant/invitations", {"email": f"guest-{self.invited}@example.test"})
        return made.data["id"] if made.status == 201 else "inv_of_a_suspended_tenant"

    def keep(self, who):
        self.invited += 1
        made = self.ask_as("owner" if who == "viewer" else who, "POST", "/v1/wallet/items", {"key": f"kept-{self.invited}", "value": SECRET})
        return made.data["id"] if made.status == 201 else "wal_of_a_suspended_tenant"

    def body(self, method, path):
        self.invited += 1
        if path.endswith("/wallet/items"):
            return {"key": f"key-{self.invited}"}
        return {"email": f"guest-{self.invited}@example.test"} if path.endswith("/invitations") else {}

    def may(self, who, route):
        # Who leaves cannot be asked again, and a value is told for a proof
        # alone: tests/http/stack_members.py and stack_wallet.py.
        return not route.path.endswith(("/leave", "/reveal"))

    def fresh(self, who, route):
        """Something of that person's own to be worked on."""
        if "/members/" in route.path:
            self.invited += 1
            return {"slug": "ours", "id": self.enter(f"fresh-{self.invited}", "ours")["userId"]}
        stack, job = self.make(who)
        return {"slug": "ours", "id": self.id_of(route.path, who, stack, job)}

    def state(self):
        listed = self.ask_as("owner", "GET", "/v1/stacks?limit=100")
        return listed.data, [self.ask_as("owner", "GET", f"/v1/stacks/{row['id']}").data for row in listed.data]

    def suspended(self):
        self.set_status("ours", "suspended")
        return tuple(name for name, slug in PEOPLE.items() if slug == "ours")


Matrix(Stack()).run()
