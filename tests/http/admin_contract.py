#!/usr/bin/env python3
"""Every route of admin held to the contract."""
# captive-env: STACK_SERVICE_PORT=9 SIM_SERVICE_PORT=9
# captive-env: STRIPE_WEBHOOK_SECRET=whsec_contract_93a1 ZITADEL_WEBHOOK_SECRET=zt-contract-key-77c0
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import identity  # noqa: E402
from contract import Contract, World  # noqa: E402
from wire import Wire  # noqa: E402

ORG = "org-contract"


class Admin(World):
    service = "admin"
    signed = {"POST /api/webhooks/stripe": 400, "POST /api/webhooks/zitadel": 400}
    restless = (*World.restless, "GET /api/webhooks/stripe/health", "GET /api/webhooks/zitadel/health")
    odd = {"GET /api/internal/feature-flags": 400}  # ?sub= is wanted
    lists = ("POST /api/internal/feature-flags/{sub}", "GET /api/internal/tenants/by-org/{orgId}", "GET /api/internal/users/{sub}/tenants")

    def __init__(self):
        wire = Wire(os.environ["KOMBI_URL"])
        headers = identity.proven(identity.identity("contract-user", ORG, email="c%40example.org", name="C"), "POST", "admin")
        answer = wire.call("POST", "/v1/tenants", {"slug": "contract", "name": "Contract"}, headers)
        assert answer.status == 201, answer
        self.instance = answer.data["instanceId"]
        self.define(wire)

    def define(self, wire):
        """A feature flag and who has a value of it."""
        path = "/v1/admin/feature-flags"
        for method, target, body in (("POST", path, {"key": "contract", "type": "bool", "default": False}),
                                     ("PUT", f"{path}/contract/assignments", {"sub": "contract-user", "value": True})):
            answer = wire.call(method, target, body, self.user(method, org=ORG, roles="kombisphere_admin"))
            assert answer.status in (201, 204), answer
        headers = self.user("GET", org=ORG, roles="kombisphere_admin")
        self.assignment = wire.call("GET", f"{path}/contract/assignments", None, headers).data[0]["id"]

    def good(self, method, path, permission):
        if permission["kind"] == "service":
            return self.caller(permission["callers"][0])
        return self.user(method, org=ORG, roles="kombisphere_admin" if permission["kind"] == "platform" else "")

    def params(self, path):
        return {"sub": "contract-user", "orgId": ORG, "slug": "contract", "key": "contract",
                "id": self.assignment if "feature-flags" in path else self.instance}

    def body(self, method, path):
        if "feature-flags" in path:
            bodies = {"POST /v1/admin/feature-flags": {"key": "another", "type": "bool", "default": True}, "PUT": {"sub": "contract-user", "value": True}}
            return bodies.get(f"{method} {path}") or bodies.get(method) or ({"flags": {}} if "internal" in path else {})
        bodies = {"/api/internal/users": {"sub": "contract-user"}, "/v1/admin/instances": {"region": "local", "internalEndpoint": "http://127.0.0.1:9"},
                  "/api/internal/instances/health": {"instanceId": self.instance, "timestamp": "2026-01-01T00:00:00Z", "status": "healthy"}}
        if path.endswith("/tenants") and "internal" in path + "internal" * path.startswith("/v1/admin"):
            return {"slug": "contract-2", "name": "x", "orgId": "org-2"}
        return bodies.get(path, {"slug": "contract-3", "name": "x"} if path == "/v1/tenants" else {})


Contract(Admin()).run()
