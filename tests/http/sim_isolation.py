#!/usr/bin/env python3
"""Every tenant route of sim, asked by owner, member, viewer, another tenant, a guest, and in a suspended tenant."""
# captive-env: KOMBI_SSH_PORTS_A_TENANT=500
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import identity  # noqa: E402
from isolation import Matrix  # noqa: E402
from sim_world import SimWorld  # noqa: E402

SECRET = "kept-from-others"
SMALL = {"cpu": 0.1, "memory": "64Mi", "disk": "1Gi"}
# who: (slug that is asked for, organisation, roles)
PEOPLE = {"owner": ("ours", "org-ours", "admin"), "member": ("ours", "org-ours", "member"), "viewer": ("ours", "org-ours", "viewer"),
          "neighbour": ("theirs", "org-theirs", "admin"), "neighbour at our tenant": ("ours", "org-theirs", "admin,kombisphere_admin"),
          "guest": ("ours", "", "admin"), "guest of an organisation nobody knows": ("ours", "org-nobody", "admin")}


class Sim(SimWorld):
    outsiders = ("neighbour at our tenant", "guest", "guest of an organisation nobody knows")
    neighbours = ("neighbour",)
    words = (SECRET,)

    def __init__(self):
        super().__init__()
        for slug in ("ours", "theirs"):
            self.tenant(slug, "enterprise")
        self.simulation_id, self.node = self.make()

    def make(self):
        made = self.ask_as("owner", "POST", "/v1/simulations", {"name": SECRET, "nodes": [{"name": SECRET, "resources": SMALL}], "start": True})
        assert made.status == 201, made
        self.wait("ours", made.data["id"], "running")
        return made.data["id"], made.data["nodes"][0]["id"]

    def ask_as(self, who, method, target, body=None):
        slug, org, roles = PEOPLE[who]
        values = identity.identity(who.split(" ")[0], org, "enterprise", roles, tenant=slug)
        return self.wire.call(method, target, body, identity.proven(values, method, "sim"))

    def params(self, path, whose, who="owner"):
        template = "/templates/" in path
        if whose == "nobody":
            return {"id": "sim_01j0000000000000000000000z", "node": "node_01j0000000000000000000000z"}
        return {"id": "single-node" if template else self.simulation_id, "node": self.node}

    def body(self, method, path):
        return {"name": "one-more", "resources": SMALL} if path.endswith("/nodes") else {}

    def may(self, who, route):
        return True

    def fresh(self, who, route):
        sim, node = self.make()
        if route.path.endswith("/start"):
            self.ask_as("owner", "POST", f"/v1/simulations/{sim}/stop")
            self.wait("ours", sim, "stopped")
        return {"id": "single-node" if "/templates/" in route.path else sim, "node": node}

    def state(self):
        listed = self.ask_as("owner", "GET", "/v1/simulations?limit=100")
        return listed.data, [self.ask_as("owner", "GET", f"/v1/simulations/{row['id']}").data for row in listed.data]

    def suspended(self):
        self.set_status("ours", "suspended")
        return ("owner", "member", "viewer")


Matrix(Sim()).run()
