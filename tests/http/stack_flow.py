#!/usr/bin/env python3
"""stack as its users meet it: exchange, stacks, a validation job with its log, a session, a launch that was taken back."""
import hashlib
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import identity  # noqa: E402
from service_process import ServiceProcess  # noqa: E402
from stack_world import StackWorld  # noqa: E402
from stub import Stub  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import until  # noqa: E402

SPEC = "name: home\nkit: base-homelab\nnodes:\n  - name: \"höhle\"   # kept byte for byte\n"
tally = Tally()
check = tally.check


def owner(world, method, target, body=None, **more):
    return world.ask("owner", "org-flow", method, target, body, tenant="flow", **more)


def other(world, method, target, body=None):
    return world.ask("other", "org-flow", method, target, body, tenant="flow")


def the_exchange_opens_the_tenant(world):
    answer = world.ask("owner", "org-flow", "POST", "/api/internal/sso/exchange", email="o%40example.org", name="O%20Wner")
    got = answer.json() or {}
    check("the exchange", answer.status == 200, answer)
    check("its members", list(got) == ["token", "tenantId", "tenantSlug", "userId", "email", "role", "expiresAt", "user", "redirectUrl"], got)
    check("the first one is admin", got["role"] == "admin" and got["email"] == "o@example.org" and got["user"]["name"] == "O Wner", got)
    check("where to go", got["redirectUrl"] == "/tenant/flow/dashboard" and got["tenantSlug"] == "flow", got)
    again = world.enter("owner", "flow")
    check("the same one again", again["userId"] == got["userId"] and again["role"] == "admin", again)
    check("later ones are members", world.enter("other", "flow")["role"] == "member")
    nobody = world.wire.call("POST", "/api/internal/sso/exchange", None, world.headers("owner", "", "POST"))
    check("no organisation, no entry", nobody.status == 400 and nobody.code == "VALIDATION_FAILED", nobody)
    return got


def stacks_are_made_read_changed_and_deleted(world):
    made = owner(world, "POST", "/v1/stacks", {"name": "home", "spec": SPEC, "description": "d", "configuration": {"a": [1, {"b": None}]}})
    check("made", made.status == 201 and made.data["status"] == "draft", made)
    check("quota headers", made.header("X-Quota-Limit") == "5" and made.header("X-Quota-Used") == "1" and made.header("X-Quota-Remaining") == "4", made)
    stack = made.data["id"]
    got = owner(world, "GET", f"/v1/stacks/{stack}")
    check("read as made", got.status == 200 and got.data == made.data, got)
    check("its digest", got.data["specSha256"] == hashlib.sha256(SPEC.encode()).hexdigest(), got)
    check("its settings", got.data["configuration"] == {"a": [1, {"b": None}]}, got)
    spec = owner(world, "GET", f"/v1/stacks/{stack}/spec")
    check("the file, byte for byte", spec.body == SPEC.encode() and spec.header("Content-Type") == "application/yaml", spec)
    listed = owner(world, "GET", "/v1/stacks")
    check("listed", [row["id"] for row in listed.data] == [stack] and listed.json()["meta"] == {"page": 1, "limit": 20, "total": 1}, listed)
    changed = owner(world, "PATCH", f"/v1/stacks/{stack}", {"name": "haus"})
    check("changed", changed.status == 200 and changed.data["name"] == "haus" and changed.data["description"] == "d" and changed.data["spec"] == SPEC, changed)
    return stack


def members_see_what_is_shared_with_them(world, stack):
    target, me = f"/v1/stacks/{stack}", world.sessions["other", "flow"]["userId"]
    check("not yet", other(world, "GET", target).status == 404)
    shared = owner(world, "PATCH", target, {"members": [me]})
    check("shared", shared.data["members"] == [me], shared)
    check("seen", other(world, "GET", target).status == 200)
    for method, body in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        answer = other(world, method, target, body)
        check(f"{method} is the owner's", answer.status == 403 and answer.code == "AUTH_INSUFFICIENT", answer)
    check("job too", other(world, "POST", f"{target}/validate").status == 403)
    strange = owner(world, "PATCH", target, {"members": ["somebody"]})
    check("nobody from elsewhere", strange.status == 400 and "members" in strange.error["details"]["fields"], strange)
    check("and nothing changed", owner(world, "GET", target).data["members"] == [me])
    mine = other(world, "POST", "/v1/stacks", {"name": "mine"})
    check("members make their own", mine.status == 201 and mine.data["ownerId"] == me, mine)
    check("admins see them all", owner(world, "GET", f"/v1/stacks/{mine.data['id']}").status == 200)
    check("the owner deletes", other(world, "DELETE", f"/v1/stacks/{mine.data['id']}").status == 204)
    check("gone is gone", owner(world, "GET", f"/v1/stacks/{mine.data['id']}").status == 404)


def a_job_runs_and_tells_its_log(world, stack, stub):
    answer = owner(world, "POST", f"/v1/stacks/{stack}/validate")
    check("the job", answer.status == 202 and answer.data["type"] == "validate" and answer.data["status"] == "pending", answer)
    job = f"/v1/jobs/{answer.data['jobId']}"
    done = until(lambda: (row := owner(world, "GET", job).data)["status"] in ("completed", "failed") and row, "the job ends")
    check("it completed", done["status"] == "completed" and done["progress"] == 100 and done["result"]["valid"] is True, done)
    asked = stub.asked[-1]
    check("stackkits was asked", asked.path == "/v1/stackkits/base-homelab/validate" and asked.json() == {"kombinationYaml": SPEC}, asked.path)
    try:
        identity.read_token(asked.headers["Authorization"], "stack", "stackkits")
        check("as the service that it is", True)
    except AssertionError as problem:
        check("as the service that it is", False, str(problem))
    log = owner(world, "GET", f"{job}/logs").data
    check("the log", log["done"] and [line["seq"] for line in log["lines"]] == list(range(1, len(log["lines"]) + 1)), log)
    parts, after = [], 0
    while not (page := owner(world, "GET", f"{job}/logs?after={after}&limit=1").data)["done"] and len(parts) < 50:
        parts, after = parts + page["lines"], page["next"]
    check("piece by piece it is the same", parts + page["lines"] == log["lines"], (parts, log))
    check("a job that ended is not cancelled", owner(world, "POST", f"{job}/cancel").code == "CONFLICT")
    check("listed by stack", [row["id"] for row in owner(world, "GET", f"/v1/jobs?stackId={stack}").data] == [answer.data["jobId"]])
    check("listed by status", owner(world, "GET", "/v1/jobs?status=pending").data == [])
    for query in ("status=done", "page=0", "limit=101", "limit=x", "page=-1"):
        wrong = owner(world, "GET", f"/v1/jobs?{query}")
        check(f"?{query} is told", wrong.status == 400 and query.split("=")[0] in wrong.error["details"]["fields"], wrong)


def a_job_that_waits_is_cancelled(world, stack, stub):
    stub.broken = True
    job = f"/v1/jobs/{owner(world, 'POST', f'/v1/stacks/{stack}/validate').data['jobId']}"
    tried = until(lambda: (row := owner(world, "GET", job).data)["status"] == "pending" and row["attempts"] >= 1 and row, "the job is to be tried again")
    check("why", "503" in (tried["error"] or ""), tried)
    cancelled = owner(world, "POST", f"{job}/cancel")
    check("cancelled", cancelled.status == 200 and cancelled.data["status"] == "cancelled", cancelled)
    check("it ended", owner(world, "GET", f"{job}/logs").data["done"])
    stub.broken = False


def a_session_is_as_good_as_the_gateway(world, stack):
    session = {"Authorization": world.sessions["owner", "flow"]["token"]}
    got = world.wire.call("GET", f"/tenant/flow/v1/stacks/{stack}", None, session)
    check("below /tenant", got.status == 200 and got.data["id"] == stack, got)
    check("with Bearer too", world.wire.call("GET", "/tenant/flow/v1/tenant", None, {"Authorization": "Bearer " + session["Authorization"]}).status == 200)
    check("not at the gateway's places", world.wire.call("GET", f"/v1/stacks/{stack}", None, session).status == 401)
    fresh = world.wire.call("POST", "/tenant/flow/api/collections/users/auth-refresh", None, session)
    check("refreshed", fresh.status == 200 and set(fresh.json()) == {"token", "record"}, fresh)
    again = world.wire.call("GET", "/tenant/flow/v1/tenant", None, {"Authorization": fresh.json()["token"]})
    check("the fresh one opens", again.status == 200 and again.data["role"] == "admin", again)
    check("the page needs nobody", world.wire.call("GET", "/tenant/flow/dashboard").status == 200)
    world.row("flow", "UPDATE users SET \"tokenKey\" = \"tokenKey\" || 'x' WHERE \"ssoSub\" = 'owner'")
    for token in (session["Authorization"], fresh.json()["token"]):
        check("a new key ends all sessions", world.wire.call("GET", "/tenant/flow/v1/tenant", None, {"Authorization": token}).status == 401)


def the_tenant_tells_its_use(world):
    usage = owner(world, "GET", "/v1/tenant/usage").data
    check("usage", usage["plan"] == "pro" and usage["users"] == {"used": 2, "limit": 10, "remaining": 8} and usage["stacks"]["used"] == 1, usage)
    members = owner(world, "GET", "/v1/tenant/members").data
    check("members", sorted(row["role"] for row in members) == ["admin", "member"], members)
    check("no secret of a member", all(set(row) == {"id", "email", "name", "role", "disabled"} for row in members), members)


def a_tenant_is_suspended_and_deleted(world, stack):
    world.set_status("flow", "suspended")
    check("suspended", owner(world, "GET", f"/v1/stacks/{stack}").code == "TENANT_FORBIDDEN")
    check("no entry", world.ask("owner", "org-flow", "POST", "/api/internal/sso/exchange").code == "TENANT_FORBIDDEN")
    world.set_status("flow", "active")
    check("active again", owner(world, "GET", f"/v1/stacks/{stack}").status == 200)
    check("a stack goes", owner(world, "DELETE", f"/v1/stacks/{stack}").status == 204)
    check("and is gone", owner(world, "DELETE", f"/v1/stacks/{stack}").status == 404)
    check("deleted", world.as_service("admin", "DELETE", "/api/internal/tenants/flow").status == 204)
    check("and out of reach", owner(world, "GET", "/v1/stacks").code == "TENANT_NOT_FOUND")
    check("for entries too", world.ask("owner", "org-flow", "POST", "/api/internal/sso/exchange").status in (403, 404))


def main():
    def judge(_):
        return (503, {"error": {}}) if stub.broken else (200, {"valid": True, "errors": []})

    stub = Stub(judge)
    stub.broken = False
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/data")
        stack = ServiceProcess("stack", folder, identity.root_secret().decode(), KOMBI_DATA_DIR=f"{folder}/data", STACKKITS_URL=stub.url,
                               KOMBI_LOG_LEVEL="info")
        try:
            world = StackWorld(stack.start().url, f"{folder}/data")
            world.tenant("flow", "pro")
            the_exchange_opens_the_tenant(world)
            one = stacks_are_made_read_changed_and_deleted(world)
            members_see_what_is_shared_with_them(world, one)
            a_job_runs_and_tells_its_log(world, one, stub)
            a_job_that_waits_is_cancelled(world, one, stub)
            the_tenant_tells_its_use(world)
            a_session_is_as_good_as_the_gateway(world, one)
            a_tenant_is_suspended_and_deleted(world, one)
        finally:
            stack.stop()
            stub.stop()
    tally.end()


main()
