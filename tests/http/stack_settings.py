#!/usr/bin/env python3
"""What a tenant's API has around its records: settings, limits of requests, other origins, health.

Run by: tests/support/captive stack $PWD/tests/http/stack_settings.py
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402

tally, world = Tally(), StackWorld()
check = tally.check
world.tenant("acme", "enterprise")
ADMIN = world.enter("ada", "acme")["token"]
MEMBER = world.enter("ben", "acme")["token"]
API = "/tenant/acme/api"
ORIGIN = "https://pages.example"


def call(method, path, body=None, who=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if who:
        headers["Authorization"] = who
    return world.wire.call(method, API + path, body, headers)


def header(answer, name):
    return answer.header(name)


def settings_are_a_superusers():
    check("nobody reads them", call("GET", "/settings").status == 401)
    check("nor does a member", call("GET", "/settings", who=MEMBER).status == 403)
    changed = call("PATCH", "/settings", {"smtp": {"password": "hidden word"}}, ADMIN)
    check("a password is taken", changed.status == 200, changed)
    read = call("GET", "/settings", who=ADMIN)
    check("and never told", read.status == 200 and "password" not in read.json()["smtp"], read)
    plain = world.row("acme", "UPDATE _params SET value = value WHERE instr(value, 'hidden word')")
    check("nor kept as it is", plain == 0, plain)


def other_origins_may_read():
    asked = {"Origin": ORIGIN, "Access_Control_Request_Method": "PATCH", "Access_Control_Request_Headers": "authorization,content-type"}
    for path in ("/health", "/collections/users/records", "/settings"):
        answer = call("OPTIONS", path, **asked)
        check(f"a preflight of {path}", answer.status == 204, answer)
        check("any origin", header(answer, "Access-Control-Allow-Origin") == "*", answer)
        check("the headers asked for", header(answer, "Access-Control-Allow-Headers") == "authorization,content-type", answer)
        check("all methods", header(answer, "Access-Control-Allow-Methods") == "GET,HEAD,PUT,PATCH,POST,DELETE", answer)
        check("no credentials", header(answer, "Access-Control-Allow-Credentials") is None, answer)
    for path in ("/health", "/settings", "/nowhere"):
        check(f"an answer of {path}", header(call("GET", path, Origin=ORIGIN), "Access-Control-Allow-Origin") == "*")
    check("without an origin nothing is said", header(call("GET", "/health"), "Access-Control-Allow-Origin") is None)
    platform = world.wire.call("GET", "/tenant/acme/v1/stacks", None, {"Origin": ORIGIN})
    check("nor by the platform's routes", header(platform, "Access-Control-Allow-Origin") is None, platform)
    platform = world.wire.call("OPTIONS", "/v1/stacks", None, {"Origin": ORIGIN})
    check("nor to a preflight of them", header(platform, "Access-Control-Allow-Origin") is None, platform)


def health_says_more_to_superusers():
    check("to others that it answers", call("GET", "/health").json() == {"message": "API is healthy.", "code": 200, "data": {}})
    told = call("GET", "/health", who=ADMIN).json()["data"]
    check("to superusers who asks", told["realIP"] == "127.0.0.1" and "canBackup" in told, told)
    gone = world.wire.call("GET", "/tenant/nobody/api/health")
    check("of no tenant nothing", gone.status == 404, gone)


def limit(enabled, *rules):
    answer = call("PATCH", "/settings", {"rateLimits": {"enabled": enabled, "rules": list(rules)}}, ADMIN)
    check("limits are set", answer.status == 200, answer)


def rule(label, requests, audience=""):
    return {"label": label, "audience": audience, "duration": 3600, "maxRequests": requests}


def statuses(n, method, path, who=None):
    return sorted(call(method, path, who=who).status for _ in range(n))


# A window of an hour may end between two calls: one more than the limit may pass each time it does.
def limits_hold():
    check("off by default", 429 not in statuses(6, "GET", "/health"))
    limit(True, rule("/api/health", 2), rule("*:list", 3), rule("users:view", 1, "@guest"))
    seen = statuses(8, "GET", "/health")
    check("a path's limit", seen.count(429) >= 4 and seen.count(200) >= 2, seen)
    refused = call("GET", "/health", Origin=ORIGIN)
    check("its body", refused.json() == {"status": 429, "message": "Too Many Requests.", "data": {}}, refused)
    check("when to come again", int(header(refused, "Retry-After")) >= 1, refused)
    check("how many may come", header(refused, "X-RateLimit-Limit") == "2", refused)
    check("and a page may read it", header(refused, "Access-Control-Allow-Origin") == "*", refused)
    check("superusers are not counted", 429 not in statuses(6, "GET", "/health", ADMIN))
    seen = statuses(10, "GET", "/collections/users/records")
    check("an action's limit", seen.count(429) >= 4 and seen[0] == 200, seen)
    seen = statuses(6, "GET", "/collections/users/records/none")
    check("of guests", seen.count(429) >= 4, seen)
    check("not of who signed in", 429 not in statuses(6, "GET", "/collections/users/records/none", MEMBER))
    limit(False, rule("/api/health", 2))
    check("off again", 429 not in statuses(6, "GET", "/health"))


def upkeep_is_run_when_asked():
    told = call("GET", "/crons", who=ADMIN)
    ids = [job["id"] for job in told.json()]
    check("a tenant's upkeep", told.status == 200 and "__pbOTPCleanup__" in ids and "__pbMFACleanup__" in ids, told)
    check("is no member's business", call("GET", "/crons", who=MEMBER).status == 403)
    check("nor a guest's", call("POST", "/crons/__pbOTPCleanup__").status == 401)
    for table in ("_otps", "_mfas"):
        for name, created in (("old", "2020-01-01 00:00:00.000Z"), ("new", "2999-01-01 00:00:00.000Z")):
            world.row("acme", f'INSERT INTO {table} (id, "collectionRef", "recordRef", created, updated) VALUES (?, ?, ?, ?, ?)',
                      f"{name}00000000000{table[1]}", "_pb_users_auth_", "someone", created, created)
    for job in ids:
        ran = call("POST", f"/crons/{job}", who=ADMIN)
        check(f"{job} is run", ran.status == 204, ran)
    for table in ("_otps", "_mfas"):
        old = world.row("acme", f"DELETE FROM {table} WHERE id LIKE 'old%'")
        new = world.row("acme", f"DELETE FROM {table} WHERE id LIKE 'new%'")
        check(f"what is over goes from {table}, the rest stays", (old, new) == (0, 1), (old, new))
    check("unknown upkeep", call("POST", "/crons/nope", who=ADMIN).json() == {"status": 404, "message": "Missing or invalid cron job.", "data": {}})


settings_are_a_superusers()
upkeep_is_run_when_asked()
other_origins_may_read()
health_says_more_to_superusers()
limits_hold()
tally.end()
