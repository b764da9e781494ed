"""A sim service with tenants and simulations in it, made over HTTP; what no route can do is done in its own file."""
import os
import sqlite3
import time

import identity
from wire import Wire


class SimWorld:
    service = "sim"

    def __init__(self, url=None, data=None):
        self.wire = Wire(url or os.environ["KOMBI_URL"])
        self.data = data or os.environ["KOMBI_DATA_DIR"]

    def as_service(self, name, method, target, body=None):
        return self.wire.call(method, target, body, identity.bearer(name, self.service))

    def headers(self, user, slug, method, **more):
        return identity.proven(identity.identity(user, f"org-{slug}", **{"tenant": slug, **more}), method, self.service)

    def ask(self, user, slug, method, target, body=None, **more):
        return self.wire.call(method, target, body, self.headers(user, slug, method, **more))

    def tenant(self, slug, plan="pro"):
        """A tenant whose organisation is called org-SLUG."""
        body = {"slug": slug, "name": slug, "zitadelOrgId": f"org-{slug}", "plan": plan}
        answer = self.as_service("admin", "POST", "/api/internal/tenants", body)
        assert answer.status == 201, answer
        return answer.data

    def simulation(self, slug, *names, start=False):
        nodes = [{"name": name, "resources": {"cpu": 0.5, "memory": "512Mi", "disk": "2Gi"}} for name in names]
        answer = self.ask("maker", slug, "POST", "/v1/simulations", {"name": "home", "nodes": nodes, "start": start}, roles="member")
        assert answer.status == 201, answer
        return answer.data

    def wait(self, slug, simulation, status, seconds=15):
        """Until the simulation has that status; None waits until it is gone."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.ask("maker", slug, "GET", f"/v1/simulations/{simulation}")
            if (answer.data or {}).get("status") == status or (status is None and answer.status == 404):
                return answer.data
            assert time.monotonic() < deadline, (status, answer)
            time.sleep(0.01)

    def set_status(self, slug, status):
        with sqlite3.connect(os.path.join(self.data, "sim.db"), timeout=10) as db:
            assert db.execute("UPDATE tenants SET status = ? WHERE slug = ?", (status, slug)).rowcount == 1
        db.close()
