#!/usr/bin/env python3
"""Which instance gets a tenant's requests. Starts gateways of its own with
the program that runs it:
tests/support/captive gateway tests/http/gateway_tenants.py"""
import json
import pathlib
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Issuer, Upstream, run_tests, send, until  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-gateway-tenants-"))
ISSUER = Issuer(FOLDER)


class Admin:
    """Tells where tenants live, and what changed; one row a slug."""

    def __init__(self):
        self.server, self.rows, self.changed, self.clock, self.down = Upstream(), {}, {}, 10_000, False
        self.server.rules["/api/internal/"] = self.answer

    def put(self, slug, endpoint, org="org-1", status="active", health="HEALTHY", state="ACTIVE", users=()):
        self.clock += 10
        self.changed[slug] = self.clock
        self.rows[slug] = {"slug": slug, "orgId": org, "status": status, "users": list(users),
                           "instance": {"id": "ins_1", "internalEndpoint": endpoint, "status": state, "health": health}}

    def answer(self, wire, head):
        path, _, query = head.start.split()[1].removeprefix("/api/internal/").partition("?")
        if self.down:
            return send(wire, 503, b"{}", "application/json")
        if path == "tenant-changes":
            since = int(query.removeprefix("since=") or self.clock)
            data = {"now": self.clock, "all": False, "tenants": [
                {"slug": slug, "orgId": self.rows[slug]["orgId"]} for slug, at in self.changed.items() if at > since]}
        elif path.startswith("tenants/by-org/"):
            data = [row for row in self.rows.values() if row["orgId"] == path.split("/")[2]]
        elif path.startswith("users/"):
            data = [row for row in self.rows.values() if path.split("/")[1] in row["users"]]
        else:
            data = self.rows.get(path.split("/")[1])
        return send(wire, 200 if data is not None else 404, json.dumps({"data": data}).encode(), "application/json")


def stack(name):
    server = Upstream()
    server.rules["/health"] = lambda wire, head: send(wire, 200, b"{}")

    def answer(wire, head):
        wire.body(head)
        send(wire, 200, f"{name} {head.get('X-Tenant-ID')} {head.get('Host')}".encode())
    server.rules["/"] = answer
    server.url = f"http://127.0.0.1:{server.port}"
    return server


ADMIN = Admin()
OWN, ONE, TWO = stack("own"), stack("one"), stack("two")
CONFIG = f"""_format_version: "3.0"
upstreams:
- name: stack-upstream
  targets: [{{target: "127.0.0.1:{OWN.port}"}}]
  healthchecks:
    active:
      http_path: /health
      timeout: 1
      healthy: {{interval: 0.1, successes: 1, http_statuses: [200]}}
      unhealthy: {{interval: 0.1, tcp_failures: 2, http_failures: 2, timeouts: 2}}
services:
- name: admin
  url: http://127.0.0.1:{ADMIN.server.port}
- name: stack
  host: stack-upstream
  retries: 1
  routes:
  - {{name: platform, paths: [/v1], strip_path: false}}
  - name: sso
    paths: [/kombistack/sso/start]
    strip_path: false
    plugins: [{{name: sso-start, config: {{}}}}]
  plugins:
  - {{name: jwt, config: {{issuer: "{ISSUER.url}", audience: kombify, jwks_uri: "{ISSUER.url}/keys"}}}}
  - {{name: tenant-router, config: {{admin_service: admin}}}}
- name: sim
  host: stack-upstream
  tags: ["callee:sim"]
  routes: [{{name: sim, paths: [/v1/sim], strip_path: false}}]
  plugins:
  - {{name: jwt, config: {{issuer: "{ISSUER.url}", audience: kombify, jwks_uri: "{ISSUER.url}/keys"}}}}
  - {{name: tenant-router, config: {{admin_service: admin}}}}
- name: apps
  host: stack-upstream
  retries: 0
  routes: [{{name: apps, paths: [/tenant], strip_path: false}}]
  plugins:
  - {{name: tenant-router, config: {{admin_service: admin, source: path, tenant_limit: 50}}}}
"""
GW = Gateway(CONFIG, KOMBI_WORKERS="1")


def ask(org, path="/v1/x", tenant=None, sub="user-1", gateway=None):
    headers = [("X-Tenant-ID", tenant)] if tenant else []
    return (gateway or GW).call("GET", path, headers, token=ISSUER.token(org=org, sub=sub))


def text(answer, status=200):
    assert answer.status == status, (answer.status, answer.body)
    return answer.body.decode() if status == 200 else json.loads(answer.body)["error"]


def test_each_tenant_reaches_the_instance_where_it_lives_and_no_other():
    ADMIN.put("alpha", ONE.url, "org-a")
    ADMIN.put("beta", TWO.url, "org-b")
    ADMIN.put("gamma", None, "org-c")
    assert text(ask("org-a")) == f"one alpha 127.0.0.1:{ONE.port}"
    assert text(ask("org-b")) == f"two beta 127.0.0.1:{TWO.port}"
    assert text(ask("org-c")) == "own gamma stack-upstream"
    assert text(ask("org-nobody")) == "own None stack-upstream"
    assert text(GW.call("GET", "/tenant/beta/api/x")) == f"two None 127.0.0.1:{TWO.port}"
    assert text(ask("org-a", "/v1/sim")) == "own alpha stack-upstream"  # sim has no instances


def test_the_session_is_exchanged_where_the_tenant_lives():
    ADMIN.put("sso", TWO.url, "org-sso")
    TWO.rules["/api/internal/sso/exchange"] = lambda wire, head: send(wire, 200, b'{"at":"two"}', "application/json")
    TWO.rules["/"] = TWO.rules.pop("/")
    answer = GW.call("GET", "/kombistack/sso/start", [("Accept", "application/json")], token=ISSUER.token(org="org-sso"))
    assert answer.status == 200 and answer.json() == {"at": "two"}, answer.body


def test_a_tenant_that_moved_is_followed_within_seconds_and_without_an_error():
    ADMIN.put("nomad", ONE.url, "org-n")
    assert text(ask("org-n")).startswith("one")
    assert text(GW.call("GET", "/tenant/nomad/")).startswith("one")
    ADMIN.put("nomad", TWO.url, "org-n")
    started = time.monotonic()
    until(lambda: text(ask("org-n")).startswith("two") and text(GW.call("GET", "/tenant/nomad/")).startswith("two"), 6, "the move")
    assert time.monotonic() - started < 4


def test_an_instance_that_is_gone_is_a_clear_503_and_nobody_else_gets_its_requests():
    gone = stack("gone")
    ADMIN.put("stranded", gone.url, "org-s")
    assert text(ask("org-s")).startswith("gone")
    gone.stop()
    count = len(OWN.seen)
    error = text(ask("org-s"), 503)
    assert error["code"] == "SERVICE_UNAVAILABLE" and "instance" in error["message"], error
    until(lambda: "UNHEALTHY" in [row["health"] for row in GW.call("GET", "/upstreams/stack-upstream/health", admin=True).json()["data"]],
          5, "operators see it")
    before = time.monotonic()
    text(ask("org-s"), 503)
    assert time.monotonic() - before < 0.5
    assert not [head for head in OWN.seen[count:] if "/v1/x" in head.start]
    assert text(ask("org-a")).startswith("one")


def test_an_instance_that_admin_calls_unhealthy_gets_nothing_until_it_is_well():
    ADMIN.put("ill", ONE.url, "org-i", health="UNHEALTHY")
    assert "instance" in text(ask("org-i"), 503)["message"]
    ADMIN.put("ill", ONE.url, "org-i", health="DEGRADED")
    until(lambda: ask("org-i").status == 200, 6, "recovery")
    ADMIN.put("ill", ONE.url, "org-i", state="SUSPENDED")
    until(lambda: ask("org-i").status == 503, 6, "suspension")
    ADMIN.put("odd", "ftp://127.0.0.1/x", "org-odd")
    text(ask("org-odd"), 503)


def test_members_select_tenants_of_their_own_and_of_other_organisations():
    ADMIN.put("mine", ONE.url, "org-m")
    ADMIN.put("mine-too", TWO.url, "org-m")
    ADMIN.put("theirs", TWO.url, "org-other", users=["guest"])
    assert text(ask("org-m")).startswith("one mine ")
    assert text(ask("org-m", tenant="mine-too")).startswith("two mine-too ")
    assert text(ask("org-m", tenant="theirs", sub="guest")).startswith("two theirs ")
    assert text(ask("org-m", tenant="theirs"), 403)["code"] == "TENANT_FORBIDDEN"


def test_unknown_slugs_are_remembered_and_cannot_be_searched_for():
    ADMIN.put("known", ONE.url, "org-k")
    ADMIN.put("asleep", ONE.url, "org-z", status="suspended")
    gateway = Gateway(CONFIG)
    try:
        assert gateway.call("GET", "/tenant/known/x").status == 200
        for slug in ("nobody", "nobody", "Not_A_Slug", "asleep"):
            assert text(gateway.call("GET", f"/tenant/{slug}/x"), 404)["code"] == "TENANT_NOT_FOUND"
        assert ADMIN.server.count("/api/internal/tenants/nobody") == 1
        statuses = [gateway.call("GET", f"/tenant/guess-{i}/x").status for i in range(70)]
        assert statuses[0] == 404 and statuses[-1] == 429, statuses
        assert gateway.call("GET", "/tenant/known/x").status == 200
    finally:
        gateway.stop()


def test_one_tenant_cannot_take_all():
    ADMIN.put("busy", ONE.url, "org-busy")
    text(ask("org-busy"))
    statuses = [GW.call("GET", "/tenant/busy/x").status for _ in range(60)]
    assert statuses.count(200) == 50 and statuses[-1] == 429, statuses


def test_news_of_admin_outlive_admin_and_reloads():
    assert text(ask("org-b")).startswith("two")
    ADMIN.down = True
    try:
        assert text(ask("org-b")).startswith("two")
        GW.reload(CONFIG + "# again\n")
        assert text(ask("org-b")).startswith("two")
        assert "cannot be looked up" in text(ask("org-never-seen"), 503)["message"]
    finally:
        ADMIN.down = False
    until(lambda: ask("org-never-seen").status == 200, 6, "recovery")


def test_many_at_once_while_a_tenant_moves_never_fail():
    ADMIN.put("storm", ONE.url, "org-storm")
    token, answers, end = ISSUER.token(org="org-storm"), [], time.monotonic() + 2.5

    def load():
        while time.monotonic() < end:
            answers.append(GW.call("GET", "/v1/x", token=token))
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    ADMIN.put("storm", TWO.url, "org-storm")
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200} and answers[-1].body.startswith(b"two"), answers[-1].body


if __name__ == "__main__":
    code = run_tests(dict(globals()))
    GW.stop()
    sys.exit(code)
