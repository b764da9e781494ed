"""Who may do what: every tenant route of a service, asked by everybody, against one table of who may.

What is somebody else's must look like what does not exist: the two answers are equal but for request id and time."""
import re

import schema
from contract import document, routes_of
from tally import Tally

ROLES = {"owner": 3, "member": 2, "viewer": 1}
NEEDED = {"viewer": 1, "member": 2, "admin": 3}


def plain(answer):
    """The answer without what is different in every answer."""
    error = dict(answer.error)
    error.pop("requestId", None)
    error.pop("timestamp", None)
    lines = sorted(name.lower() for name, _ in answer.lines)
    return answer.status, error, lines


class Matrix:
    """world.ask_as(who, method, target, body), world.params(path, whose), world.body(method, path), world.state()."""

    def __init__(self, world):
        self.world, self.tally = world, Tally()
        self.routes = [route for route in routes_of(document()) if route.kind == "tenant"]

    def run(self):
        before = self.world.state()
        for route in self.routes:
            for who in self.world.outsiders:
                self.outsider(route, who)
            self.too_low(route)
            self.foreign(route)
        after = self.world.state()
        self.tally.check("nothing of the tenant changed", before == after, (before, after))
        # Last, because here things happen: what the roles may, they can.
        for route in sorted(self.routes, key=lambda route: route.method == "DELETE"):
            self.allowed(route)
        for who in self.world.suspended():
            for route in self.routes:
                self.outsider(route, who)
        self.tally.end()

    def ask(self, who, route, params):
        target = re.sub(r"{(\w+)}", lambda match: params[match.group(1)], route.path)
        body = None if route.schema is None else {**schema.least(route.schema), **self.world.body(route.method, route.path)}
        return self.world.ask_as(who, route.method, target, body)

    def outsider(self, route, who):
        answer = self.ask(who, route, self.world.params(route.path, "ours"))
        self.tally.check(f"{route} is closed to {who}", answer.status in (401, 403, 404) or answer.code == "TENANT_REQUIRED", answer)
        self.tally.check(f"{route} tells {who} nothing", not any(word in answer.body.decode("latin-1") for word in self.world.words), answer)

    def too_low(self, route):
        for who, rank in ROLES.items():
            if rank < NEEDED[route.permission["role"]]:
                answer = self.ask(who, route, self.world.params(route.path, "ours"))
                self.tally.check(f"{route} is too high for a {who}", answer.status == 403 and answer.code == "AUTH_INSUFFICIENT", answer)

    def foreign(self, route):
        """Asked from inside of a tenant for another one's ids, and for ids that nobody has."""
        if not (set(route.names) - {"slug"}) or "/templates/" in route.path:
            return
        for who in self.world.neighbours:
            if ROLES.get(who, 3) < NEEDED[route.permission["role"]]:
                continue  # too_low has asked already
            theirs = self.ask(who, route, self.world.params(route.path, "ours", who))
            nobodys = self.ask(who, route, self.world.params(route.path, "nobody", who))
            self.tally.check(f"{route}: foreign is missing to {who}", theirs.status == 404 and plain(theirs) == plain(nobodys), (theirs, nobodys))

    def allowed(self, route):
        for who, rank in ROLES.items():
            if rank < NEEDED[route.permission["role"]] or not self.world.may(who, route):
                continue
            params = self.world.fresh(who, route)
            answer = self.ask(who, route, params)
            self.tally.check(f"{route} is open to the {who}", 200 <= answer.status < 300, answer)
