#!/usr/bin/env python3
"""The platform's own routes at the gateway: strangers, forgers and junk are answered here, by the contract, on every path of the file."""
import os
import re
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import identity  # noqa: E402
from contract import CODES, METHODS, Judge  # noqa: E402

PUBLIC = ("/v1/catalog/public", "/v1/catalog/categories", "/api/webhooks", "/tenant")
INTERNAL = ("/api/internal", "/api/internal/", "/api/internal/tenants", "/api/internal/sso/exchange", "/tenant/../api/internal/tenants",
            "/v1/stacks/../../api/internal/tenants", "/api/%69nternal/tenants", "//api//internal/tenants", "/API/INTERNAL/tenants", "/api/internal;x/tenants")


def paths_of(file):
    with open(file, encoding="utf-8") as text:
        found = re.findall(r"^\s*paths: \[([^\]]+)\]", text.read(), re.M)
    return [path.strip() for line in found for path in line.split(",")]


class Gateway(Judge):
    def run(self):
        paths = paths_of(os.environ["KONG_DECLARATIVE_CONFIG"])
        self.tally.check("the file has routes", len(paths) > 10, paths)
        for path in paths:
            for method in METHODS:
                self.strangers(method, path)
            self.heads(path)
            self.sizes(path)
        self.unknown()
        self.request_ids()
        self.end()

    def strangers(self, method, path):
        if path.startswith(PUBLIC) or path == "/kombistack/sso/start" and method != "GET":
            return
        values = identity.identity("root", "org", "enterprise", "kombisphere_admin", tenant="acme")
        forged = identity.proven(values, method, "gateway")
        token = identity.service_token("cloud", "admin")
        for what, headers, codes in (("nothing", {}, {"AUTH_REQUIRED"}), ("identity headers", values, {"AUTH_REQUIRED"}),
                                     ("a proof", forged, {"AUTH_REQUIRED"}), ("a service token", {"Authorization": f"Bearer {token}"}, {"AUTH_INVALID"}),
                                     ("an unsigned token", {"Authorization": "Bearer e30.e30."}, {"AUTH_INVALID"}),
                                     ("a word", {"Authorization": "Bearer x"}, {"AUTH_INVALID"}), ("a login", {"Authorization": "Basic YTpi"}, CODES[401])):
            what = f"{method} {path} with {what}"
            answer = self.ask(what, method, path, headers)
            # Here no issuer tells its keys: what only they could judge is not judged.
            if answer.status == 503 and "AUTH_INVALID" in codes:
                self.refused(what, answer, 503, {"SERVICE_UNAVAILABLE"})
            else:
                self.refused(what, answer, 401, codes)

    def heads(self, path):
        get, head = (self.ask(f"{method} {path}", method, path) for method in ("GET", "HEAD"))
        if path == "/kombistack/sso/start":  # its route names GET alone
            self.refused(f"HEAD {path}", head, {401, 404, 405})
        else:
            self.tally.check(f"HEAD {path} follows GET", head.status == get.status, (get, head))

    def sizes(self, path):
        for what, status, headers, target in (("a header too long", 431, [("X-Long", "a" * 9000)], path), ("headers too many", 431, [(f"X-{i}", "a") for i in range(120)], path),
                                              ("a target too long", 414, [], path + "?q=" + "a" * 9000)):
            what = f"{path} with {what}"
            answer = self.wire.call("GET", target, None, [("X-Request-ID", uuid.uuid4().hex), *headers])
            self.refused(what, answer, status)
            self.whole(what, "GET", answer, answer.header("X-Request-ID"))

    def unknown(self):
        for path in ("/", "/nothing", "/v1", "/v1/nothing", "/v1/stacksandmore", "/v1/stacks.json", "/metrics", "/ready", "/status", *INTERNAL):
            for method in METHODS:
                for headers in ({}, {"Authorization": f"Bearer {identity.service_token('cloud', 'stack')}"}):
                    answer = self.ask(f"{method} {path}", method, path, headers)
                    self.refused(f"{method} {path}", answer, {400, 404, 405})
        health = self.ask("health", "GET", "/health")
        self.tally.check("health is public", health.status in (200, 503) and "status" in (health.json() or {}), health)


Gateway().run()
