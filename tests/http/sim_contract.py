#!/usr/bin/env python3
"""Every route of sim held to the contract."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from contract import Contract, World  # noqa: E402
from sim_world import SimWorld  # noqa: E402

SLUG = "contract"


class Sim(World):
    service = "sim"
    restless = (*World.restless, "GET /v1/nodes/{node}/stats")

    def __init__(self):
        world = SimWorld()
        world.tenant(SLUG, "enterprise")
        self.simulation = world.simulation(SLUG, "one", start=True)["id"]
        self.node = world.wait(SLUG, self.simulation, "running")["nodes"][0]["id"]

    def good(self, method, path, permission):
        if permission["kind"] == "service":
            return self.caller(permission["callers"][0])
        return self.user(method, org=f"org-{SLUG}", tenant=SLUG, roles="member")

    def too_low(self, method, path, permission):
        if permission["kind"] != "tenant":
            return {}
        callers = {"another organisation": self.user(method, org="org-elsewhere", tenant=SLUG)}
        if permission["role"] != "viewer":
            callers["a viewer"] = self.user(method, org=f"org-{SLUG}", tenant=SLUG, roles="viewer")
        return callers

    def params(self, path):
        return {"id": "single-node" if "/templates/" in path else self.simulation, "node": self.node}

    def body(self, method, path):
        return {"slug": "contract-2", "name": "x", "zitadelOrgId": "org-2"} if path == "/api/internal/tenants" else {}


Contract(Sim()).run()
