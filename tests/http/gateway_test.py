#!/usr/bin/env python3
# not-quick: it waits for deadlines and judges large bodies
"""The gateway over real sockets, before an upstream that records what it gets.

Starts gateways of its own (configurations of the test's own) with the program
that runs it: tests/support/captive gateway tests/http/gateway_test.py"""
import json
import pathlib
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import (FIELDS, Gateway, Issuer, Upstream, connect, proof_is_good, request_bytes,  # noqa: E402
                         reset, run_tests, send, until)

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-gateway-test-"))
UPSTREAM, ADMIN, ISSUER = Upstream(), Upstream(), Issuer(FOLDER)

CONFIG = """_format_version: "3.0"
services:
- name: stack
  url: http://127.0.0.1:{port}
  read_timeout: 400
  retries: 2
  routes:
  - {{name: stacks, paths: [/v1/stacks], strip_path: false}}
  - name: admin
    paths: [/v1/admin]
    strip_path: false
    plugins: [{{name: acl, config: {{allow: [admin]}}}}]
  - name: sso
    paths: [/kombistack/sso/start]
    strip_path: false
    methods: [GET]
    plugins: [{{name: sso-start, config: {{}}}}]
  - name: limited
    paths: [/v1/limited]
    plugins:
    - {{name: rate-limiting-advanced, config: {{identifier: jwt_claim_plan, limit: [2, 3, 4], window_size: [60, 60, 60]}}}}
  - name: tenants
    paths: [/v1/tenant]
    strip_path: false
    plugins: [{{name: tenant-router, config: {{admin_service: admin}}}}]
  plugins:
  - name: jwt
    config: {{issuer: "{issuer}", jwks_uri: "{issuer}/keys", audience: [kombify], claims_to_verify: [exp, iss, aud], maximum_expiration: 3600}}
- name: admin
  url: http://127.0.0.1:{admin}
- name: public
  url: http://127.0.0.1:{port}/base
  read_timeout: 400
  retries: 2
  routes:
  - {{name: public, paths: [/public], methods: [GET, POST, PUT, DELETE]}}
  - {{name: kept, paths: [/kept], strip_path: false, preserve_host: true}}
  - {{name: ws, paths: [/ws], strip_path: false, protocols: [http, ws]}}
  - name: big
    paths: [/big]
    plugins: [{{name: request-size-limiting, config: {{allowed_payload_size: 0}}}}]
- name: joined
  url: http://127.0.0.1:{port}/api
  routes: [{{name: joined, paths: [/joined]}}]
- name: slow
  url: http://127.0.0.1:{port}
  read_timeout: 20000
  retries: 0
  routes: [{{name: slow, paths: [/slow], strip_path: false}}]
- name: dead
  url: http://127.0.0.1:{dead}
  retries: 1
  routes: [{{name: dead, paths: [/dead]}}]
- name: nowhere
  host: does-not-exist.invalid
  routes: [{{name: nowhere, paths: [/nowhere]}}]
plugins:
- {{name: correlation-id, config: {{header_name: X-Request-ID, generator: uuid, echo_downstream: true}}}}
- name: cors
  config:
    origins: ["https://app.kombify.io", "https://*.kombify.dev"]
    methods: [GET, POST]
    headers: [Authorization, X-Tenant-ID]
    exposed_headers: [X-Request-ID]
    credentials: true
    max_age: 600
{more}"""


def unused_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


DEAD = unused_port()


def config(more=""):
    return CONFIG.format(port=UPSTREAM.port, admin=ADMIN.port, dead=DEAD, issuer=ISSUER.url, more=more)


GW = Gateway(config())
TOKEN = ISSUER.token()


def envelope(answer, status, code):
    assert answer.status == status, (answer.status, answer.body[:300])
    error = answer.json()["error"]
    assert error["code"] == code, error
    assert error["requestId"] == answer.head.get("X-Request-ID"), (error, answer.head.fields)
    assert answer.head.get("Content-Type") == "application/json"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", error["timestamp"])
    assert len(answer.head.all("X-Request-ID")) == 1
    return error


def seen(path):
    return [head for head in UPSTREAM.seen if head.start.split()[1].split("?")[0] == path]


# ---- errors -------------------------------------------------------------------


def test_every_error_has_the_envelope_and_its_request_id():
    envelope(GW.call("GET", "/nothing/here"), 404, "NOT_FOUND")
    envelope(GW.call("OPTIONS", "*"), 404, "NOT_FOUND")
    envelope(GW.call("TRACE", "/public/x"), 405, "METHOD_NOT_ALLOWED")
    envelope(GW.call("GET", "/v1/stacks"), 401, "AUTH_REQUIRED")
    envelope(GW.call("GET", "/v1/stacks", token="a.b.c"), 401, "AUTH_INVALID")
    envelope(GW.call("GET", "/v1/admin/users", token=TOKEN), 403, "AUTH_INSUFFICIENT")
    refused = GW.call("PATCH", "/public/x")
    envelope(refused, 405, "METHOD_NOT_ALLOWED")
    assert refused.head.get("Allow") == "GET, HEAD, POST, PUT, DELETE", refused.head.fields
    envelope(GW.call("GET", "/public/x", [("X-Big", "y" * 9000)]), 431, "VALIDATION_FAILED")
    envelope(GW.call("GET", "/dead"), 503, "SERVICE_UNAVAILABLE")
    envelope(GW.call("GET", "/nowhere"), 503, "SERVICE_UNAVAILABLE")


def test_bodies_over_the_limit_are_refused_whatever_their_framing():
    envelope(GW.raw(request_bytes("POST", "/public/big", [("Content-Length", "1048577")])), 413, "PAYLOAD_TOO_LARGE")
    chunked = b"".join(b"%x\r\n" % 65536 + b"z" * 65536 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
    answer = GW.raw(request_bytes("POST", "/public/big2", [("Transfer-Encoding", "chunked")]) + chunked)
    envelope(answer, 413, "PAYLOAD_TOO_LARGE")
    whole = b"a" * (2 << 20)
    answer = GW.call("POST", "/big/three", body=whole)
    assert answer.status == 200 and len(answer.json()["body"]) == len(whole)


def test_bad_answers_of_the_upstream_become_502():
    bad = {"junk": b"nonsense\r\n\r\n", "two-lengths": b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
           "cr": b"HTTP/1.1 200 X\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n", "unasked-101": b"HTTP/1.1 101 X\r\n\r\n",
           "status": b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", "nothing": b""}
    for name, data in bad.items():
        UPSTREAM.rules[f"/base/bad-{name}"] = lambda wire, head, data=data: wire.sock.sendall(data) and False or False
        envelope(GW.call("GET", f"/public/bad-{name}"), 502, "SERVICE_UNAVAILABLE")
        assert GW.call("GET", "/public/fine").status == 200


def test_an_upstream_that_does_not_answer_becomes_504():
    UPSTREAM.rules["/base/never"] = lambda wire, head: wire.more() and False
    begin = time.monotonic()
    envelope(GW.call("POST", "/public/never", body=b"x"), 504, "SERVICE_UNAVAILABLE")
    assert 0.3 < time.monotonic() - begin < 5


def test_an_answer_cut_in_the_middle_is_seen_as_cut():
    def cut(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf")
        return False

    def cut_chunk(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        return False
    UPSTREAM.rules["/base/cut"], UPSTREAM.rules["/base/chunk"] = cut, cut_chunk
    for path in ("/public/cut", "/public/chunk"):
        try:
            answer = GW.call("GET", path)
        except (EOFError, ValueError, ConnectionError):
            continue
        assert answer.status == 502, answer.status


def test_bytes_after_an_answer_reach_nobody_else():
    UPSTREAM.rules["/base/extra"] = lambda wire, head: wire.sock.sendall(
        b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\npoison")
    for _ in range(5):
        assert GW.call("GET", "/public/extra").body == b"ok"
        assert b"poison" not in GW.call("GET", "/public/other").body


# ---- paths -----------------------------------------------------------------------


def test_internal_paths_are_never_forwarded():
    before = len(UPSTREAM.seen) + len(ADMIN.seen)
    for path in ("/api/internal", "/api/internal/users/x", "/API/INTERNAL/x", "/api/%69nternal/x", "/v1/../api/internal/x",
                 "/metrics", "/ready", "/health/../api/internal/users/x", "//api//internal"):
        envelope(GW.call("GET", path, token=TOKEN), 404, "NOT_FOUND")
    envelope(GW.call("GET", "/api%2finternal/x"), 400, "VALIDATION_FAILED")
    # Nor what a service's path and the rest of a stripped prefix spell.
    for path in ("/joined/internal/users/x", "/joined/internal", "/joined/INTERNAL/x"):
        envelope(GW.call("GET", path), 404, "NOT_FOUND")
    assert len(UPSTREAM.seen) + len(ADMIN.seen) == before
    assert GW.call("GET", "/joined/internals").status == 200


def test_the_upstream_gets_the_normalised_path_and_the_query_as_it_was():
    answer = GW.call("GET", "/public//a/./b/../c%41%7e?x=%2f&y=a%20b?z").json()
    assert answer["start"] == "GET /base/a/cA~?x=%2f&y=a%20b?z HTTP/1.1", answer["start"]
    assert GW.call("GET", "/public").json()["start"] == "GET /base HTTP/1.1"
    assert GW.call("GET", "/public?").json()["start"] == "GET /base? HTTP/1.1"


def test_health_is_answered_by_the_gateway_itself():
    before = len(UPSTREAM.seen)
    answer = GW.call("GET", "/health")
    assert answer.status == 200 and answer.json()["status"] == "healthy", answer.body
    assert GW.call("HEAD", "/health").status == 200
    assert GW.call("POST", "/health", body=b"").status == 405
    assert len(UPSTREAM.seen) == before


# ---- identity ----------------------------------------------------------------------


def headers_of(answer):
    return [(name.lower(), value) for name, value in answer.json()["headers"]]


def values(headers, name):
    return [value for key, value in headers if key == name.lower()]


def test_the_verified_caller_is_told_with_a_proof():
    GW.call("GET", "/v1/stacks/proof", token=TOKEN)
    head = seen("/v1/stacks/proof")[-1]
    assert head.get("X-User-ID") == "user-1" and head.get("X-Org-ID") == "org-1"
    assert head.get("X-User-Email") == "one@example.org" and head.get("X-User-Name") == "An%C3%A9%20One"
    assert head.get("X-User-Roles") == "user" and head.get("X-Subscription-Plan") == "pro"
    assert head.get("X-Forwarded-By") == "Kong" and head.get("X-Service-Name") == "KombiStack"
    assert proof_is_good(head, "GET", "stack")
    assert head.get("Authorization") is None and head.get("X-Original-Authorization") is None
    GW.call("DELETE", "/v1/stacks/proof", token=TOKEN)
    assert proof_is_good(seen("/v1/stacks/proof")[-1], "DELETE", "stack")


def test_elliptic_tokens_are_verified_off_the_loop():
    token = ISSUER.token("ES256", sub="elliptic")
    for _ in range(3):
        headers = headers_of(GW.call("GET", "/v1/stacks/es", token=token))
        assert values(headers, "X-User-ID") == ["elliptic"]
    head, body, _ = token.split(".")
    envelope(GW.call("GET", "/v1/stacks", token=f"{head}.{body}.{'A' * 86}"), 401, "AUTH_INVALID")


def test_tokens_that_do_not_hold_are_refused_with_a_challenge():
    for bad in (ISSUER.token(aud="other"), ISSUER.token(iss="https://other"), ISSUER.token(exp=int(time.time()) - 100),
                ISSUER.token(exp=int(time.time()) + 9000), TOKEN[:-4] + "AAAA", TOKEN + " x", TOKEN + "," + TOKEN):
        answer = GW.call("GET", "/v1/stacks", token=bad)
        envelope(answer, 401, "AUTH_INVALID")
        assert answer.head.all("WWW-Authenticate")[0].startswith("Bearer")
    two = [("Authorization", f"Bearer {TOKEN}")] * 2
    envelope(GW.call("GET", "/v1/stacks", two), 401, "AUTH_INVALID")
    assert GW.call("GET", f"/v1/stacks?jwt={TOKEN}").status == 401
    assert GW.call("GET", "/v1/stacks", [("Authorization", f"bEaReR {TOKEN}")]).status == 200


def test_identity_of_clients_is_stripped_on_every_route():
    forged = [(name, "root") for name in FIELDS if name != "X-Tenant-ID"]
    forged += [("X_User_ID", "root"), ("X.Org.ID", "root"), ("X-Kombi-Proof", "root"), ("X-Consumer-ID", "root"),
               ("X-Forwarded-By", "root"), ("X-Service-Name", "root"), ("X-Original-Authorization", "root"),
               ("x-user-id", "root"), ("X-Internal-Token", "root"), ("X_Forwarded_For", "root")]
    for path, token in (("/public/forged", None), ("/v1/stacks/forged", TOKEN)):
        headers = headers_of(GW.call("GET", path, forged, token=token))
        assert "root" not in [value for _, value in headers], headers
        assert all(len(values(headers, name)) <= 1 for name in FIELDS)
        assert not any("_" in name or "." in name for name, _ in headers), headers
    assert not values(headers_of(GW.call("GET", "/public/forged", forged)), "X-User-ID")


def test_connection_can_name_neither_identity_nor_framing():
    for named in ("X-User-ID", "close, X-User-ID, X-Org-ID", "Host", "Content-Length", "X-Request-ID, keep-alive", "X-Kombi-Proof"):
        answer = GW.call("POST", "/v1/stacks/named", [("Connection", named)], body=b"four", token=TOKEN)
        headers = headers_of(answer)
        assert values(headers, "X-User-ID") == ["user-1"] and values(headers, "X-Org-ID") == ["org-1"], named
        assert values(headers, "Host") and answer.json()["body"] == "four" and values(headers, "X-Request-ID")
        assert values(headers, "X-Kombi-Proof")


def test_hop_by_hop_fields_end_here():
    sent = [("Connection", "X-Mine, close"), ("X-Mine", "x"), ("Keep-Alive", "x"), ("Proxy-Connection", "x"), ("TE", "trailers"),
            ("Trailer", "x"), ("Upgrade", "h2c"), ("Proxy-Authorization", "x"), ("X-Other", "stays")]
    headers = headers_of(GW.call("GET", "/public/hop", sent))
    for name, _ in sent[:-1]:
        assert not values(headers, name), (name, headers)
    assert values(headers, "X-Other") == ["stays"]


def test_addresses_come_from_the_peer():
    forged = [("X-Forwarded-For", "10.0.0.1, 127.0.0.9"), ("X-Forwarded-Proto", "ftp"), ("X-Forwarded-Host", "evil"),
              ("X-Forwarded-Port", "1"), ("Forwarded", "for=1.2.3.4"), ("X-Real-IP", "1.2.3.4"), ("True-Client-IP", "1.2.3.4"),
              ("CF-Connecting-IP", "1.2.3.4"), ("X-Client-IP", "1.2.3.4"), ("X-Cluster-Client-IP", "1.2.3.4")]
    headers = headers_of(GW.call("GET", "/public/addr", forged))
    assert values(headers, "X-Forwarded-For") == ["127.0.0.1"] and values(headers, "X-Real-IP") == ["127.0.0.1"]
    assert values(headers, "X-Forwarded-Proto") == ["http"] and values(headers, "X-Forwarded-Host") == ["api.test"]
    assert values(headers, "X-Forwarded-Port") == [GW.url.rsplit(":", 1)[1]]
    for name in ("Forwarded", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP"):
        assert not values(headers, name), name


def test_trusted_proxies_are_believed():
    gateway = Gateway(config(), KOMBI_TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8")
    try:
        sent = [("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.0.0.1"), ("X-Forwarded-Proto", "https")]
        headers = headers_of(gateway.call("GET", "/public/trusted", sent))
        assert values(headers, "X-Real-IP") == ["203.0.113.9"], headers
        assert values(headers, "X-Forwarded-For") == ["6.6.6.6, 203.0.113.9, 10.0.0.1, 127.0.0.1"]
        assert values(headers, "X-Forwarded-Proto") == ["https"]
    finally:
        gateway.stop()


def test_the_host_is_the_service_unless_it_is_preserved():
    assert values(headers_of(GW.call("GET", "/public/host")), "Host") == [f"127.0.0.1:{UPSTREAM.port}"]
    assert values(headers_of(GW.call("GET", "/kept/host")), "Host") == ["api.test"]


# ---- answers -------------------------------------------------------------------------


def test_answers_are_dressed_and_filtered():
    UPSTREAM.rules["/base/dressed"] = lambda wire, head: send(
        wire, 200, b"x", extra="X-User-ID: leak\r\nX-Org-ID: leak\r\nServer: secret\r\nX-Custom: yes\r\nKeep-Alive: 5\r\n"
        "Access-Control-Allow-Origin: *\r\nStrict-Transport-Security: none\r\nSet-Cookie: a=b\r\nX-Request-ID: other\r\n"
        "Connection: X-Drop\r\nX-Drop: 1\r\n")
    head = GW.call("GET", "/public/dressed").head
    for name in ("X-User-ID", "X-Org-ID", "Server", "Keep-Alive", "Access-Control-Allow-Origin", "X-Drop"):
        assert head.get(name) is None, (name, head.fields)
    for name in ("X-Frame-Options", "Content-Security-Policy", "X-Content-Type-Options",
                 "X-Request-ID"):
        assert len(head.all(name)) == 1, (name, head.fields)
    assert head.get("X-Custom") == "yes" and head.get("Set-Cookie") == "a=b"
    assert head.get("Strict-Transport-Security") is None, "not over plain HTTP"


def test_a_clean_request_id_is_kept_and_others_are_replaced():
    mine = "6f1c1f5e-7b1e-4e0e-9d5f-0b7f6f0a1b2c"
    answer = GW.call("GET", "/public/id", [("X-Request-ID", mine), ("X-Correlation-ID", "trace-1")])
    assert answer.head.get("X-Request-ID") == mine and values(headers_of(answer), "X-Request-ID") == [mine]
    assert answer.head.get("X-Correlation-ID") == "trace-1" and values(headers_of(answer), "X-Correlation-ID") == ["trace-1"]
    answer = GW.call("GET", "/public/id", [("X-Request-ID", "a b"), ("X-Correlation-ID", "\"quoted\"")])
    assert " " not in answer.head.get("X-Request-ID") and answer.head.get("X-Correlation-ID") is None
    assert envelope(GW.call("GET", "/none", [("X-Request-ID", mine)]), 404, "NOT_FOUND")["requestId"] == mine


def test_origins_are_granted_by_name_or_one_label_only():
    for origin, granted in (("https://app.kombify.io", True), ("https://x.kombify.dev", True), ("null", False),
                            ("https://app.kombify.io.evil.com", False), ("https://evil-kombify.io", False),
                            ("http://app.kombify.io", False), ("https://APP.kombify.io", False), ("https://a.b.kombify.dev", False),
                            ("https://.kombify.dev", False), ("https://kombify.dev", False), ("https://xkombify.dev", False),
                            ("https://x.kombify.io@evil.com", False), ("https://app.kombify.io, https://evil.example", False)):
        for path in ("/public/cors", "/none", "/v1/stacks"):
            head = GW.call("GET", path, [("Origin", origin)]).head
            assert head.get("Access-Control-Allow-Origin") == (origin if granted else None), (origin, head.fields)
            assert "Origin" in head.all("Vary"), head.fields
    head = GW.call("GET", "/public/cors", [("Origin", "https://app.kombify.io")]).head
    assert head.get("Access-Control-Allow-Credentials") == "true" and head.get("Access-Control-Expose-Headers") == "X-Request-ID"


def test_preflights_are_answered_without_token_and_upstream():
    before = len(UPSTREAM.seen)
    asked = [("Origin", "https://app.kombify.io"), ("Access-Control-Request-Method", "POST"),
             ("Access-Control-Request-Headers", "x-user-id,x-org-id,authorization")]
    answer = GW.call("OPTIONS", "/v1/stacks", asked)
    assert answer.status == 204, answer.status
    assert answer.head.get("Access-Control-Allow-Headers") == "Authorization,X-Tenant-ID"
    assert answer.head.get("Access-Control-Allow-Methods") == "GET,POST" and answer.head.get("Access-Control-Max-Age") == "600"
    assert GW.call("OPTIONS", "/v1/stacks").status == 401
    assert GW.call("OPTIONS", "/public/x", asked[:1]).status == 405
    assert GW.call("OPTIONS", "/none", asked).status == 404
    assert len(UPSTREAM.seen) == before


# ---- plugins ------------------------------------------------------------------------------


def test_the_plan_chooses_the_limit_and_the_subject_is_counted():
    tokens = {plan: ISSUER.token(sub=f"limited-{plan.strip('!')}{len(plan)}", plan=plan) for plan in ("free", "pro", "enterprise", "ENTERPRISE!")}
    for plan, limit in (("free", 2), ("pro", 3), ("enterprise", 4), ("ENTERPRISE!", 2)):
        for number in range(limit):
            answer = GW.call("GET", "/v1/limited", token=tokens[plan])
            assert answer.status == 200, (plan, number, answer.body)
            assert answer.head.get("X-RateLimit-Limit") == str(limit)
            assert answer.head.get("X-RateLimit-Remaining") == str(limit - number - 1)
            assert 0 < int(answer.head.get("X-RateLimit-Reset")) - time.time() <= 61
        answer = GW.call("GET", "/v1/limited", token=tokens[plan])
        envelope(answer, 429, "RATE_LIMITED")
        assert 1 <= int(answer.head.get("Retry-After")) <= 60 and answer.head.get("X-RateLimit-Remaining") == "0"


def test_roles_are_held_whole_and_in_the_active_organisation():
    assert GW.call("GET", "/v1/admin/x", token=ISSUER.token(roles=("user", "admin"))).status == 200
    for roles in (("administrator",), ("not-admin",), ("Admin",)):
        envelope(GW.call("GET", "/v1/admin/x", token=ISSUER.token(roles=roles)), 403, "AUTH_INSUFFICIENT")
    elsewhere = {"urn:zitadel:iam:org:project:roles": {"admin": {"org-2": "x"}, "user": {"org-1": "x"}}}
    envelope(GW.call("GET", "/v1/admin/x", token=ISSUER.token(**elsewhere)), 403, "AUTH_INSUFFICIENT")


ADMIN.rules["/api/internal/users/"] = lambda wire, head: send(wire, 200, b'{"data":[]}', "application/json")


def tenants_of(org, *slugs, status=200):
    body = json.dumps({"data": [{"slug": slug, "plan": "pro", "status": state} for slug, state in slugs]}).encode()
    ADMIN.rules[f"/api/internal/tenants/by-org/{org}"] = lambda wire, head: send(wire, status, body, "application/json")


def test_the_tenant_of_the_organisation_is_looked_up_once_and_selected_by_members_only():
    tenants_of("org-t", ("gone", "suspended"), ("first", "active"), ("second", "active"))
    token = ISSUER.token(org="org-t")
    results = [values(headers_of(GW.call("GET", "/v1/tenant/x", token=token)), "X-Tenant-ID") for _ in range(3)]
    assert results == [["first"]] * 3, results
    assert ADMIN.count("/api/internal/tenants/by-org/org-t") == 1
    assert ADMIN.seen[-1].get("Authorization").startswith("Bearer ")
    head = seen("/v1/tenant/x")[-1]
    assert proof_is_good(head, "GET", "stack")
    chosen = headers_of(GW.call("GET", "/v1/tenant/x", [("X-Tenant-ID", "second")], token=token))
    assert values(chosen, "X-Tenant-ID") == ["second"]
    envelope(GW.call("GET", "/v1/tenant/x", [("X-Tenant-ID", "gone")], token=token), 403, "TENANT_FORBIDDEN")


def test_without_a_tenant_the_header_is_absent_and_without_admin_there_is_an_error():
    tenants_of("org-none", status=404)
    token = ISSUER.token(org="org-none")
    assert values(headers_of(GW.call("GET", "/v1/tenant/x", token=token)), "X-Tenant-ID") == []
    envelope(GW.call("GET", "/v1/tenant/x", [("X-Tenant-ID", "a")], token=token), 403, "TENANT_FORBIDDEN")
    tenants_of("org-broken", status=500)
    envelope(GW.call("GET", "/v1/tenant/x", token=ISSUER.token(org="org-broken")), 503, "SERVICE_UNAVAILABLE")


def test_those_who_ask_for_one_organisation_at_once_share_a_question():
    free = threading.Event()

    def later(wire, head):
        free.wait(10)
        send(wire, 200, b'{"data":[{"slug":"shared","status":"active"}]}', "application/json")
    ADMIN.rules["/api/internal/tenants/by-org/org-many"] = later
    token, got = ISSUER.token(org="org-many"), []
    threads = [threading.Thread(target=lambda: got.append(values(headers_of(
        GW.call("GET", "/v1/tenant/many", token=token)), "X-Tenant-ID"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: ADMIN.count("/api/internal/tenants/by-org/org-many") == 1)
    leaving = connect(GW.url)
    leaving.sock.sendall(request_bytes("GET", "/v1/tenant/left", [("Authorization", f"Bearer {token}")]))
    reset(leaving.sock)
    free.set()
    for thread in threads:
        thread.join()
    assert got == [["shared"]] * 8 and ADMIN.count("/api/internal/tenants/by-org/org-many") == 1, got


def sso_answer(wire, head):
    body = {"token": "abc.def-ghi_jkl", "tenantSlug": "t1", "redirectUrl": "/tenant/t1/dashboard",
            "expiresAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))}
    send(wire, 200, json.dumps(body).encode(), "application/json")


def test_sso_start_hands_programs_json_and_browsers_a_cookie():
    UPSTREAM.rules["/api/internal/sso/exchange"] = sso_answer
    answer = GW.call("GET", "/kombistack/sso/start", [("Accept", "application/json")], token=TOKEN)
    assert answer.status == 200 and answer.json()["redirectUrl"] == "/tenant/t1/dashboard"
    head = seen("/api/internal/sso/exchange")[-1]
    assert head.start.startswith("POST ") and head.get("X-User-ID") == "user-1" and proof_is_good(head, "POST", "stack")
    answer = GW.call("GET", "/kombistack/sso/start", [("Accept", "text/html")], token=TOKEN)
    assert answer.status == 302 and answer.head.get("Location") == "/tenant/t1/dashboard"
    cookie = answer.head.get("Set-Cookie")
    assert cookie.startswith("kombi_session=abc.def-ghi_jkl; HttpOnly; SameSite=Lax; Path=/; Max-Age=3"), cookie
    envelope(GW.call("GET", "/kombistack/sso/start"), 401, "AUTH_REQUIRED")


def test_sso_start_passes_errors_on_and_trusts_no_redirect():
    UPSTREAM.rules["/api/internal/sso/exchange"] = lambda wire, head: send(
        wire, 403, b'{"error":{"code":"TENANT_FORBIDDEN"}}', "application/json")
    answer = GW.call("GET", "/kombistack/sso/start", token=TOKEN)
    assert answer.status == 403 and answer.json()["error"]["code"] == "TENANT_FORBIDDEN"
    for target in ("//evil.example", "javascript:x", "/a\\b", "/a b"):
        body = json.dumps({"token": "t", "redirectUrl": target}).encode()
        UPSTREAM.rules["/api/internal/sso/exchange"] = lambda wire, head, body=body: send(wire, 200, body)
        envelope(GW.call("GET", "/kombistack/sso/start", token=TOKEN), 502, "SERVICE_UNAVAILABLE")


# ---- streams ---------------------------------------------------------------------------------


def test_a_chunked_body_streams_to_the_upstream_as_it_comes():
    got = []

    def collect(wire, head):
        for data in wire.chunks():
            got.append(data)
        send(wire, 200, b"done")
    UPSTREAM.rules["/base/stream-in"] = collect
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("POST", "/public/stream-in", [("Transfer-Encoding", "chunked")]))
    for number in range(3):
        wire.sock.sendall(b"6\r\nchunk%d\r\n" % number)
        until(lambda: b"".join(got).endswith(b"chunk%d" % number), what=f"chunk {number}")
    wire.sock.sendall(b"0\r\n\r\n")
    assert wire.body(wire.head()) == b"done"
    head = seen("/base/stream-in")[-1]
    assert head.get("Transfer-Encoding") == "chunked" and head.get("Content-Length") is None


def test_events_reach_the_client_unbuffered():
    step = threading.Semaphore(0)

    def events(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            step.acquire(timeout=10)
            data = b"data: %d\n\n" % number
            wire.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        wire.sock.sendall(b"0\r\n\r\n")
    UPSTREAM.rules["/slow/events"] = events
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("GET", "/slow/events"))
    assert wire.head().get("Transfer-Encoding") == "chunked"
    chunks = wire.chunks()
    for number in range(3):
        step.release()
        assert next(chunks) == b"data: %d\n\n" % number
    assert not list(chunks)


def test_expect_continue_is_answered_when_the_upstream_is_chosen():
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("POST", "/public/expect", [("Expect", "100-continue"), ("Content-Length", "5")]))
    assert wire.head().start.startswith("HTTP/1.1 100")
    wire.sock.sendall(b"hello")
    answer = json.loads(wire.body(wire.head()))
    assert answer["body"] == "hello" and not any(name == "Expect" for name, _ in answer["headers"])
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("POST", "/v1/stacks", [("Expect", "100-continue"), ("Content-Length", "5")]))
    assert wire.head().start.startswith("HTTP/1.1 401")


def test_a_slow_client_holds_no_memory():
    size = 48 << 20

    def flood(wire, head):
        wire.sock.settimeout(30)
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % size)
        block = b"x" * 65536
        for _ in range(size // len(block)):
            wire.sock.sendall(block)
    UPSTREAM.rules["/slow/flood"] = flood
    before = GW.rss_kib()
    wire = connect(GW.url, receive_buffer=65536)
    wire.sock.sendall(request_bytes("GET", "/slow/flood"))
    head = wire.head()
    steady = [GW.rss_kib()]

    def quiet():
        threading.Event().wait(0.1)
        steady.append(GW.rss_kib())
        return len(steady) > 6 and steady[-1] == steady[-5]
    until(quiet, what="a steady size")
    assert steady[-1] - before < 8192, (before, steady)
    assert len(wire.body(head)) == size
    assert GW.rss_kib() - before < 8192


def test_a_slow_upstream_holds_no_memory():
    size, free, total = 24 << 20, threading.Event(), []

    def lazy(wire, head):
        free.wait(20)
        wire.sock.settimeout(30)
        total.append(len(wire.body(head)))
        send(wire, 200, b"ok")
    UPSTREAM.rules["/base/lazy"] = UPSTREAM.rules["/lazy"] = lazy
    gateway = Gateway(config().replace("read_timeout: 400", "read_timeout: 30000"))
    try:
        before = gateway.rss_kib()
        wire = connect(gateway.url)
        done = threading.Event()

        def upload():
            wire.sock.sendall(request_bytes("POST", "/big/lazy", [("Content-Length", str(size))]))
            block = b"y" * 65536
            for _ in range(size // len(block)):
                wire.sock.sendall(block)
            done.set()
        wire.sock.settimeout(30)
        thread = threading.Thread(target=upload)
        thread.start()
        until(lambda: seen("/base/lazy"))
        assert not done.wait(0.5)
        assert gateway.rss_kib() - before < 8192, (before, gateway.rss_kib())
        free.set()
        assert wire.body(wire.head()) == b"ok" and total == [size]
        thread.join()
    finally:
        free.set()
        gateway.stop()


def test_a_client_that_leaves_takes_the_upstream_call_with_it():
    left = threading.Event()

    def watch(wire, head):
        while wire.more():
            pass
        left.set()
        return False
    UPSTREAM.rules["/slow/leave"] = watch
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("GET", "/slow/leave"))
    until(lambda: seen("/slow/leave"))
    reset(wire.sock)
    assert left.wait(10)
    assert GW.line_of("/slow/leave")["statusCode"] == 499


def test_a_websocket_passes_where_the_route_allows_it_only():
    def socket_side(wire, head):
        assert head.get("Upgrade") == "websocket" and head.get("Sec-WebSocket-Key") == "k"
        wire.sock.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\nhi")
        while wire.more():
            data, wire.buffer = wire.buffer, b""
            wire.sock.sendall(b"<" + data + b">")
        return False
    UPSTREAM.rules["/base/ws/chat"] = socket_side
    asked = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k")]
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("GET", "/ws/chat", asked))
    head = wire.head()
    assert head.start.startswith("HTTP/1.1 101") and head.get("Sec-WebSocket-Accept") == "a", head.fields
    assert head.all("Upgrade") == ["websocket"] and len(head.all("Connection")) == 1, head.fields
    assert wire.exactly(2) == b"hi"
    wire.sock.sendall(b"ping")
    assert wire.exactly(6) == b"<ping>"
    wire.close()
    headers = headers_of(GW.call("GET", "/public/chat", asked))
    assert not values(headers, "Upgrade") and "upgrade" not in "".join(values(headers, "Connection")).lower()


def test_pipelined_requests_are_answered_in_order():
    wire = connect(GW.url)
    wire.sock.sendall(b"".join(request_bytes("GET", f"/public/p{number}") for number in range(5)))
    starts = [json.loads(wire.body(wire.head()))["start"] for _ in range(5)]
    assert starts == [f"GET /base/p{number} HTTP/1.1" for number in range(5)], starts


# ---- faults ------------------------------------------------------------------------------------


def drop_first(path, times=1):
    left = [times]

    def rule(wire, head):
        wire.body(head)
        if left[0] > 0:
            left[0] -= 1
            return False
        return send(wire, 200, b"second")
    UPSTREAM.rules[path] = rule


def test_what_can_be_repeated_is_tried_again_and_posts_never_are():
    drop_first("/base/again", 1)
    assert GW.call("GET", "/public/again").body == b"second"
    drop_first("/base/put", 1)
    assert GW.call("PUT", "/public/put", body=b"x").body == b"second"
    drop_first("/base/post", 1)
    before = UPSTREAM.count("/base/post")
    envelope(GW.call("POST", "/public/post", body=b"x"), 502, "SERVICE_UNAVAILABLE")
    assert UPSTREAM.count("/base/post") == before + 1


def test_retries_have_a_budget():
    gateway = Gateway(config(), KOMBI_RETRY_PERCENT="0")
    try:
        UPSTREAM.rules["/base/storm"] = lambda wire, head: False
        for _ in range(30):
            gateway.call("GET", "/public/storm")
        assert UPSTREAM.count("/base/storm") <= 30 * 2 + 10, UPSTREAM.count("/base/storm")
        for _ in range(5):
            before = UPSTREAM.count("/base/storm")
            envelope(gateway.call("GET", "/public/storm"), 502, "SERVICE_UNAVAILABLE")
            assert UPSTREAM.count("/base/storm") <= before + 2
    finally:
        gateway.stop()


def test_a_restart_of_the_upstream_is_survived():
    upstream = Upstream()
    port = upstream.port
    text = f"""_format_version: "3.0"
services: [{{name: s, url: "http://127.0.0.1:{port}", routes: [{{name: r, paths: [/]}}]}}]
"""
    gateway = Gateway(text)
    try:
        assert gateway.call("GET", "/a").status == 200
        upstream.stop()
        until(lambda: gateway.call("GET", "/b").status == 503)
        upstream = Upstream(port)
        until(lambda: gateway.call("GET", "/c").status == 200)
        assert gateway.call("POST", "/d", body=b"x").status == 200
    finally:
        upstream.stop()
        gateway.stop()


def test_targets_take_turns_and_a_dead_one_is_passed_over():
    one, two = Upstream(), Upstream()
    text = f"""_format_version: "3.0"
services: [{{name: s, host: pool, routes: [{{name: r, paths: [/]}}]}}]
upstreams: [{{name: pool, targets: [{{target: "127.0.0.1:{one.port}"}}, {{target: "127.0.0.1:{two.port}"}}]}}]
"""
    gateway = Gateway(text)
    try:
        for _ in range(10):
            assert gateway.call("GET", "/turn").status == 200
        assert (one.count("/turn"), two.count("/turn")) == (5, 5)
        one.stop()
        for number in range(10):
            assert gateway.call("POST", f"/over{number}", body=b"x").status == 200
    finally:
        two.stop()
        gateway.stop()


def test_a_reload_is_all_or_nothing_and_disturbs_nobody():
    free = threading.Event()

    def held(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nab")
        free.wait(10)
        wire.sock.sendall(b"cd")
    UPSTREAM.rules["/slow/held"] = held
    gateway = Gateway(config())
    try:
        wire = connect(gateway.url)
        wire.sock.sendall(request_bytes("GET", "/slow/held"))
        assert wire.head().get("Content-Length") == "4" and wire.exactly(2) == b"ab"
        kept = connect(gateway.url)
        more = f"""
- name: acl
  route: added
  config: {{allow: [x]}}
routes:
- {{name: added, paths: [/added], service: public}}
"""
        gateway.reload(config(more))
        until(lambda: gateway.call("GET", "/added").status == 401)
        kept.sock.sendall(request_bytes("GET", "/added"))
        assert kept.head().start.startswith("HTTP/1.1 401")
        gateway.reload(config().replace("retries:", "retrys:"))
        assert "did you mean" in gateway.logged()
        gateway.reload(config().replace(ISSUER.url, "http://127.0.0.1:9").replace("retries:", "retrys:"))
        gateway.reload(config(more))
        until(lambda: gateway.call("GET", "/ready", admin=True).status == 200)
        assert gateway.call("GET", "/added").status == 401 and gateway.call("GET", "/public/x").status == 200
        free.set()
        assert wire.exactly(2) == b"cd"
    finally:
        free.set()
        gateway.stop()


def test_requests_in_flight_end_before_the_gateway_does():
    free = threading.Event()

    def held(wire, head):
        free.wait(10)
        send(wire, 200, b"late")
    UPSTREAM.rules["/slow/drain"] = held
    gateway = Gateway(config())
    wire = connect(gateway.url)
    wire.sock.sendall(request_bytes("GET", "/slow/drain"))
    until(lambda: seen("/slow/drain"))
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in gateway.logged())

    def refused():
        try:
            other = connect(gateway.url)
            other.sock.sendall(request_bytes("GET", "/public/late"))
            return other.head() is None
        except OSError:
            return True
    until(refused)
    free.set()
    head = wire.head()
    assert head.start.startswith("HTTP/1.1 200") and wire.body(head) == b"late" and head.get("Connection") == "close"
    gateway.stop()


# ---- operators -----------------------------------------------------------------------------------


def test_the_log_has_a_line_a_request_without_query_and_secrets():
    GW.call("GET", "/v1/stacks/logged?secret=hunter2", token=TOKEN)
    line = GW.line_of("/v1/stacks/logged")
    assert line["statusCode"] == 200 and line["userId"] == "user-1" and line["method"] == "GET" and line["route"] == "stacks"
    assert line["peer"] == "127.0.0.1" and line["service"] == "gateway" and "durationMs" in line
    text = GW.logged()
    assert "hunter2" not in text and TOKEN not in text and TOKEN.split(".")[2] not in text
    for row in text.splitlines():
        if row:
            json.loads(row)


def test_metrics_and_status_are_for_operators():
    text = GW.call("GET", "/metrics", admin=True).body.decode()
    assert re.search(r'kong_http_requests_total\{service="stack",route="stacks",code="200",source="service",workspace="default",consumer=""\} \d+', text)
    assert re.search(r'kong_request_latency_ms_bucket\{service="stack",route="stacks",workspace="default",le="\+Inf"\} \d+', text)
    assert re.search(r'kong_rate_limiting_limit_hit_total\{route="limited"\} \d+', text)
    status = GW.call("GET", "/status", admin=True).json()
    assert status["configuration"]["routes"] == 13 and re.fullmatch("[0-9a-f]{32}", status["configuration_hash"]), status
    assert GW.call("GET", "/", admin=True).json()["plugins"]["available_on_server"]["jwt"]["priority"] == 1450
    assert GW.call("GET", "/nothing", admin=True).json() == {"message": "Not found"}
    assert GW.call("POST", "/status", body=b"", admin=True).status == 405


def main():
    try:
        return run_tests(globals())
    finally:
        GW.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
