#!/usr/bin/env python3
"""Quotas of stack hold over HTTP however many ask at one moment: exactly what is left is given."""
# captive-env: KOMBI_MAX_TENANTS=6 STACKKITS_URL=http://127.0.0.1:9
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import at_once  # noqa: E402

MANY = 30
tally, world = Tally(), StackWorld()


def count(what, answers, status, wanted, others):
    """`wanted` of them have the status, all others are refused as they must be."""
    good = [answer for answer in answers if answer.status == status]
    tally.check(f"{what}: exactly {wanted} of {MANY}", len(good) == wanted, [answer.status for answer in answers])
    for answer in answers:
        tally.check(f"{what}: the others are refused", answer.status == status or (answer.status, answer.code) == others, answer)
    return good


def stacks_stop_at_the_limit():
    world.tenant("stacks", maxStacks=7)
    world.enter("owner", "stacks")
    for name in ("a", "b"):
        world.ask("owner", "org-stacks", "POST", "/v1/stacks", {"name": name}, tenant="stacks")
    answers = at_once(MANY, lambda i: world.ask("owner", "org-stacks", "POST", "/v1/stacks", {"name": f"s{i}"}, tenant="stacks"))
    made = count("stacks", answers, 201, 5, (403, "QUOTA_EXCEEDED"))
    tally.check("each tells another use", sorted(answer.header("X-Quota-Used") for answer in made) == list("34567"), made)
    refused = next(answer for answer in answers if answer.status == 403)
    tally.check("the refusal tells the figures", refused.error["details"] | {"upgradeUrl": ""} ==
                {"resource": "stacks", "current": 7, "limit": 7, "remaining": 0, "upgradeUrl": ""}, refused)
    tally.check("and in headers", [refused.header(f"X-Quota-{name}") for name in ("Limit", "Used", "Remaining")] == ["7", "7", "0"], refused)
    listed = world.ask("owner", "org-stacks", "GET", "/v1/stacks?limit=100", tenant="stacks")
    tally.check("7 are there", listed.json()["meta"]["total"] == len(listed.data) == 7, listed)
    gone = world.ask("owner", "org-stacks", "DELETE", f"/v1/stacks/{made[0].data['id']}", tenant="stacks")
    tally.check("one goes", gone.status == 204, gone)
    answers = at_once(MANY, lambda i: world.ask("owner", "org-stacks", "POST", "/v1/stacks", {"name": f"t{i}"}, tenant="stacks"))
    count("stacks after one went", answers, 201, 1, (403, "QUOTA_EXCEEDED"))


def members_stop_at_the_limit():
    world.tenant("members", maxUsers=4)
    answers = at_once(MANY, lambda i: world.ask(f"user-{i}", "org-members", "POST", "/api/internal/sso/exchange"))
    entered = count("members", answers, 200, 4, (403, "QUOTA_EXCEEDED"))
    tally.check("the first one alone is admin", sorted(answer.json()["role"] for answer in entered) == ["admin"] + ["member"] * 3, entered)
    tally.check("four different people", len({answer.json()["userId"] for answer in entered}) == 4, entered)
    again = at_once(MANY, lambda i: world.ask("user-0" if answers[0].status == 200 else "nobody", "org-members", "POST", "/api/internal/sso/exchange"))
    tally.check("who is in gets in again", len({answer.status for answer in again}) == 1, again)


def one_person_at_once_is_one_member():
    world.tenant("one", maxUsers=1)
    answers = at_once(MANY, lambda _: world.ask("same", "org-one", "POST", "/api/internal/sso/exchange"))
    tally.check("all enter", {answer.status for answer in answers} == {200}, answers)
    tally.check("as one member", len({answer.json()["userId"] for answer in answers if answer.status == 200}) == 1, answers)


def one_organisation_at_once_is_one_tenant():
    answers = at_once(MANY, lambda i: world.ask("same", "org-fresh", "POST", "/api/internal/sso/exchange"))
    tally.check("all enter", {answer.status for answer in answers} == {200}, answers)
    tally.check("one tenant", len({answer.json()["tenantId"] for answer in answers if answer.status == 200}) == 1, answers)


def tenants_stop_at_the_limit():
    """Four are there, six fit."""
    answers = at_once(MANY, lambda i: world.as_service("admin", "POST", "/api/internal/tenants", {"slug": f"t{i}", "name": "t", "zitadelOrgId": f"org-t{i}"}))
    count("tenants", answers, 201, 2, (503, "SERVICE_UNAVAILABLE"))


stacks_stop_at_the_limit()
members_stop_at_the_limit()
one_person_at_once_is_one_member()
one_organisation_at_once_is_one_tenant()
tenants_stop_at_the_limit()
tally.end()
