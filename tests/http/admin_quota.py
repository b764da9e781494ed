#!/usr/bin/env python3
"""Room for tenants holds over HTTP however many ask at one moment; a slug and an organisation are given once."""
# captive-env: KOMBIFY_DEPLOYMENT_MODE=self-hosted STACK_SERVICE_PORT=9 SIM_SERVICE_PORT=9
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import identity  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import at_once  # noqa: E402
from wire import Wire  # noqa: E402

MANY = 30
tally, wire = Tally(), Wire(os.environ["KOMBI_URL"])


def create(org, slug):
    headers = identity.proven(identity.identity(f"user-{org}", org), "POST", "admin")
    return wire.call("POST", "/v1/tenants", {"slug": slug, "name": slug}, headers)


def operator(method, target, body=None):
    return wire.call(method, target, body, identity.proven(identity.identity("op", "op", roles="kombisphere_admin"), method, "admin"))


def exactly(what, answers, wanted, status, code):
    good = [answer for answer in answers if answer.status == 201]
    tally.check(f"{what}: exactly {wanted} of {MANY}", len(good) == wanted, [answer.status for answer in answers])
    for answer in answers:
        tally.check(f"{what}: the others are told", answer.status == 201 or (answer.status, answer.code) == (status, code), answer)


def room(name):
    return next(row["currentTenants"] for row in operator("GET", "/v1/admin/instances").data if row["name"] == name)


exactly("one fits in a self-hosted installation", at_once(MANY, lambda i: create(f"org-a{i}", f"a{i}")), 1, 503, "SERVICE_UNAVAILABLE")
tally.check("it is full", room("local") == 1)
operator("POST", "/v1/admin/instances", {"name": "second", "region": "here", "internalEndpoint": "http://127.0.0.1:9", "maxTenants": 5})
answers = at_once(MANY, lambda i: create(f"org-b{i}", f"b{i}"))
exactly("five fit in the second instance", answers, 5, 503, "SERVICE_UNAVAILABLE")
tally.check("who found no room may come again", all(answer.header("Retry-After") for answer in answers if answer.status == 503))
tally.check("it is full as well", room("second") == 5)
operator("POST", "/v1/admin/instances", {"name": "third", "region": "here", "internalEndpoint": "http://127.0.0.1:9"})
exactly("a slug", at_once(MANY, lambda i: create(f"org-c{i}", "the-slug")), 1, 409, "CONFLICT")
exactly("an organisation", at_once(MANY, lambda i: create("org-d", f"d{i}")), 1, 409, "CONFLICT")
tally.check("no room was lost by refusals", room("third") == 2, room("third"))
tally.end()
