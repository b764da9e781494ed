"""A stack service with tenants and people in it, made over HTTP; what no route can do is done in the tenant's own file."""
import os
import sqlite3

import identity
from wire import Wire


class StackWorld:
    service = "stack"

    def __init__(self, url=None, data=None):
        self.wire = Wire(url or os.environ["KOMBI_URL"])
        self.data = data or os.environ["KOMBI_DATA_DIR"]
        self.sessions = {}

    def as_service(self, name, method, target, body=None):
        return self.wire.call(method, target, body, identity.bearer(name, self.service))

    def headers(self, user, org, method, **more):
        return identity.proven(identity.identity(user, org, **more), method, self.service)

    def ask(self, user, org, method, target, body=None, **more):
        return self.wire.call(method, target, body, self.headers(user, org, method, **more))

    def tenant(self, slug, plan="pro", **limits):
        """A tenant whose organisation is called org-SLUG."""
        body = {"slug": slug, "name": slug, "zitadelOrgId": f"org-{slug}", "plan": plan, **limits}
        answer = self.as_service("admin", "POST", "/api/internal/tenants", body)
        assert answer.status == 201, answer
        return answer.data

    def enter(self, user, slug):
        """The SSO exchange; its answer, with token, userId and role."""
        answer = self.ask(user, f"org-{slug}", "POST", "/api/internal/sso/exchange")
        assert answer.status == 200, answer
        self.sessions[user, slug] = answer.json()
        return answer.json()

    def row(self, slug, statement, *values):
        """One statement on the tenant's own file, as an operator would."""
        with sqlite3.connect(os.path.join(self.data, "tenants", slug, "data.db"), timeout=10) as db:
            done = db.execute(statement, values).rowcount
        db.close()
        return done

    def set_role(self, user, slug, role):
        assert self.row(slug, 'UPDATE users SET role = ? WHERE "ssoSub" = ?', role, user) == 1

    def set_status(self, slug, status):
        answer = self.as_service("admin", "PATCH", f"/api/internal/tenants/{slug}", {"status": status})
        assert answer.status == 200, answer
