#!/usr/bin/env python3
"""Members and invitations of a tenant, its activity and audit, the alerts of its quotas."""
# captive-env: KOMBI_MAX_TENANTS=6 STACKKITS_URL=http://127.0.0.1:9 KOMBI_ENVIRONMENT=development
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import at_once  # noqa: E402

tally, world = Tally(), StackWorld()
check = tally.check
SLUG = "home"
MEMBERS, INVITATIONS = "/v1/tenant/members", "/v1/tenant/invitations"


def ask(who, method, target, body=None, slug=SLUG, **more):
    return world.ask(who, f"org-{slug}", method, target, body, tenant=slug, **more)


def id_of(who, slug=SLUG):
    return world.sessions[who, slug]["userId"]


def is_refused(what, answer, status, code):
    check(what, answer.status == status and answer.code == code, answer)


def roles_are_changed_by_admins():
    changed = ask("owner", "PATCH", f"{MEMBERS}/{id_of('anna')}", {"role": "viewer"})
    check("a member becomes a viewer", changed.status == 200 and changed.data["role"] == "viewer", changed)
    is_refused("and writes no more", ask("anna", "POST", "/v1/stacks", {"name": "a"}), 403, "AUTH_INSUFFICIENT")
    is_refused("a viewer changes nobody", ask("anna", "PATCH", f"{MEMBERS}/{id_of('owner')}", {"role": "viewer"}), 403, "AUTH_INSUFFICIENT")
    is_refused("an unknown role", ask("owner", "PATCH", f"{MEMBERS}/{id_of('anna')}", {"role": "root"}), 400, "VALIDATION_FAILED")
    is_refused("nobody of another tenant", ask("owner", "PATCH", f"{MEMBERS}/{id_of('other', 'away')}", {"role": "viewer"}), 404, "NOT_FOUND")


def the_last_admin_stays():
    me = id_of("owner")
    is_refused("the last admin keeps the role", ask("owner", "PATCH", f"{MEMBERS}/{me}", {"role": "member"}), 409, "CONFLICT")
    is_refused("is not shut out", ask("owner", "PATCH", f"{MEMBERS}/{me}", {"disabled": True}), 409, "CONFLICT")
    is_refused("is not taken out", ask("owner", "DELETE", f"{MEMBERS}/{me}"), 409, "CONFLICT")
    is_refused("and does not leave", ask("owner", "POST", "/v1/tenant/leave"), 409, "CONFLICT")
    check("a second admin", ask("owner", "PATCH", f"{MEMBERS}/{id_of('ben')}", {"role": "admin"}).status == 200)
    both = at_once(2, lambda i: ask("ben" if i else "owner", "POST", "/v1/tenant/leave"))
    check("two admins who leave at once: one does", sorted(answer.status for answer in both) in ([204, 409], [204, 403]), both)
    stayed = "owner" if both[0].status != 204 else "ben"
    check("and one is left", ask(stayed, "GET", MEMBERS).status == 200)
    return stayed


def who_is_shut_out_or_gone_has_no_session(admin):
    session = {"Authorization": world.sessions["carl", SLUG]["token"]}
    there = world.wire.call("GET", f"/tenant/{SLUG}/v1/tenant", None, session)
    check("a session is good", there.status == 200, there)
    shut = ask(admin, "PATCH", f"{MEMBERS}/{id_of('carl')}", {"disabled": True})
    check("a member is shut out", shut.status == 200 and shut.data["disabled"] is True, shut)
    is_refused("his gateway's word is not enough", ask("carl", "GET", "/v1/tenant"), 403, "TENANT_FORBIDDEN")
    ended = world.wire.call("GET", f"/tenant/{SLUG}/v1/tenant", None, session)
    is_refused("nor his session", ended, 401, "AUTH_INVALID")
    check("he is let in again", ask(admin, "PATCH", f"{MEMBERS}/{id_of('carl')}", {"disabled": False}).status == 200)
    check("and is in", ask("carl", "GET", "/v1/tenant").status == 200)
    ended = world.wire.call("GET", f"/tenant/{SLUG}/v1/tenant", None, session)
    is_refused("with a new session", ended, 401, "AUTH_INVALID")
    check("he is taken out", ask(admin, "DELETE", f"{MEMBERS}/{id_of('carl')}").status == 204)
    is_refused("and is a stranger", ask("carl", "GET", "/v1/tenant"), 403, "TENANT_FORBIDDEN")
    is_refused("whom the exchange lets in no more", world.ask("carl", f"org-{SLUG}", "POST", "/api/internal/sso/exchange"), 403, "TENANT_FORBIDDEN")
    is_refused("nor is he taken out twice", ask(admin, "DELETE", f"{MEMBERS}/{id_of('carl')}"), 404, "NOT_FOUND")


def accept(who, token, email=None):
    return world.ask(who, "org-elsewhere", "POST", "/v1/invitations/accept", {"token": token}, email=email or f"{who}@example.test")


def invitations_are_for_one_address_and_once(admin):
    made = ask(admin, "POST", INVITATIONS, {"email": "Dora@example.test", "role": "viewer"})
    check("an invitation", made.status == 201 and len(made.data["token"]) == 43, made)
    token = made.data["token"]
    is_refused("one at a time", ask(admin, "POST", INVITATIONS, {"email": "dora@example.test"}), 409, "CONFLICT")
    listed = ask(admin, "GET", INVITATIONS)
    check("it waits", [row["email"] for row in listed.data] == ["Dora@example.test"] and token not in listed.body.decode(), listed)
    with open(os.path.join(world.data, "platform.db"), "rb") as file:
        check("the token itself is kept nowhere", token.encode() not in file.read())
    is_refused("somebody else has nothing of it", accept("eve", token), 403, "AUTH_INSUFFICIENT")
    is_refused("nor has a made-up token", accept("dora", "A" * 43), 404, "NOT_FOUND")
    answers = at_once(6, lambda _: accept("dora", token))
    done = [answer for answer in answers if answer.status == 200]
    check("its receiver is in", done and all(answer.status in (200, 404) for answer in answers), answers)
    check("as what it says", done[0].data["role"] == "viewer" and done[0].data["tenantSlug"] == SLUG, done)
    mine = ask("dora", "GET", "/v1/tenant")
    check("and sees the tenant", mine.status == 200 and mine.data["role"] == "viewer", mine)
    is_refused("once", accept("dora", token), 404, "NOT_FOUND")
    back = ask(admin, "POST", INVITATIONS, {"email": "carl@example.test"})
    check("who was taken out is invited again", accept("carl", back.data["token"]).status == 200, back)
    check("and is in", ask("carl", "GET", "/v1/tenant").status == 200)


def invitations_are_revoked_and_end(admin):
    made = ask(admin, "POST", INVITATIONS, {"email": "fred@example.test"}).data
    check("revoked", ask(admin, "DELETE", f"{INVITATIONS}/{made['id']}").status == 204)
    is_refused("so it is no good", accept("fred", made["token"]), 404, "NOT_FOUND")
    is_refused("no second time", ask(admin, "DELETE", f"{INVITATIONS}/{made['id']}"), 404, "NOT_FOUND")
    is_refused("not by another tenant", ask("other", "DELETE", f"{INVITATIONS}/{made['id']}", slug="away"), 404, "NOT_FOUND")


def invitations_meet_the_quota():
    world.tenant("small", maxUsers=3)
    world.enter("boss", "small")
    tokens = [ask("boss", "POST", INVITATIONS, {"email": f"g{i}@example.test"}, slug="small").data["token"] for i in range(8)]
    answers = at_once(8, lambda i: accept(f"g{i}", tokens[i]))
    check("exactly what is left", sorted(answer.status for answer in answers) == [200] * 2 + [403] * 6, answers)
    check("the others are told why", all(answer.code == "QUOTA_EXCEEDED" for answer in answers if answer.status == 403), answers)
    usage = ask("boss", "GET", "/v1/tenant/usage", slug="small")
    check("usage warns", usage.data["warnings"] == ["users"] and usage.data["users"] == {"used": 3, "limit": 3, "remaining": 0}, usage)
    alerts = ask("boss", "GET", "/v1/tenant/activity?action=quota.near", slug="small").data["items"]
    check("one alert for one crossing", [row["resourceId"] for row in alerts] == ["users"], alerts)
    raised = world.as_service("admin", "PATCH", "/api/internal/tenants/small", {"maxUsers": 4})
    is_refused("an override needs a reason", raised, 400, "VALIDATION_FAILED")
    raised = world.as_service("admin", "PATCH", "/api/internal/tenants/small", {"maxUsers": 4, "reason": "a guest more"})
    check("with one it is made", raised.status == 200 and raised.data["maxUsers"] == 4, raised)
    seen = ask("boss", "GET", "/v1/tenant/audit?action=quota.overridden", slug="small").data["items"]
    check("and kept with before and after", seen[0]["details"]["reason"] == "a guest more" and
          (seen[0]["details"]["before"]["maxUsers"], seen[0]["details"]["after"]["maxUsers"]) == (3, 4), seen)
    refusals = world.as_service("admin", "GET", "/api/internal/audit?tenant=small&action=quota.exceeded").data["items"]
    check("refusals are counted for who looks at conversions", len(refusals) == 6, refusals)


def what_happened_can_be_read(admin):
    everything = ask(admin, "GET", "/v1/tenant/activity?limit=100").data
    actions = {row["action"] for row in everything["items"]}
    check("activity", {"member.changed", "member.removed", "member.left", "invitation.created", "invitation.revoked"} <= actions, actions)
    paged, before = [], ""
    while before is not None:
        page = ask(admin, "GET", f"/v1/tenant/activity?limit=3&before={before}").data
        paged, before = paged + page["items"], page["next"]
    check("page by page the same", [row["id"] for row in paged] == [row["id"] for row in everything["items"]], paged)
    audit = ask(admin, "GET", "/v1/tenant/audit?limit=100").data["items"]
    check("the audit is of this tenant alone", audit and {row["tenant"] for row in audit} == {SLUG}, audit)
    check("with who came in by invitation", any(row["action"] == "invitation.accepted" and row["actor"] == "dora" for row in audit), audit)
    some = ask(admin, "GET", "/v1/tenant/audit?actor=dora&resource=invitation&since=2020-01-01T00:00:00Z").data["items"]
    check("filtered", {(row["actor"], row["resource"]) for row in some} == {("dora", "invitation")}, some)
    check("nothing of tomorrow", ask(admin, "GET", "/v1/tenant/audit?since=2100-01-01T00:00:00Z").data["items"] == [])
    is_refused("a time that is none", ask(admin, "GET", "/v1/tenant/audit?since=yesterday"), 400, "VALIDATION_FAILED")
    made = world.wire.call("POST", f"/tenant/{SLUG}/api/collections", {"name": "noted", "type": "base", "fields": []},
                           {"Authorization": world.enter(admin, SLUG)["token"]})
    check("a collection", made.status == 200, made)
    seen = ask(admin, "GET", "/v1/tenant/audit?action=superuser.change").data["items"]
    check("is noted as its maker's", [(row["actor"], row["details"]["method"]) for row in seen] == [(id_of(admin), "POST")], seen)
    is_refused("members do not read the audit", ask("carl", "GET", "/v1/tenant/audit"), 403, "AUTH_INSUFFICIENT")
    theirs = ask("other", "GET", f"/v1/tenant/audit?tenant={SLUG}", slug="away").data["items"]
    check("nor does another tenant by its name", {row["tenant"] for row in theirs} <= {"away"}, theirs)


world.tenant(SLUG, maxUsers=20)
world.tenant("away")
for person in ("owner", "anna", "ben", "carl"):
    world.enter(person, SLUG)
world.enter("other", "away")
roles_are_changed_by_admins()
left = the_last_admin_stays()
who_is_shut_out_or_gone_has_no_session(left)
invitations_are_for_one_address_and_once(left)
invitations_are_revoked_and_end(left)
invitations_meet_the_quota()
what_happened_can_be_read(left)
tally.end()
