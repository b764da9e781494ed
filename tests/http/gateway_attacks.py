#!/usr/bin/env python3
"""What an attacker tries at the newer parts: paths that mean one thing to an
expression and another to upstream, identity headers on routes of every plugin,
the internal listener from the outside and from a browser's page. Starts a
gateway of its own: tests/support/captive gateway tests/http/gateway_attacks.py"""
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, request_bytes, run_tests  # noqa: E402

INTERNAL = ("/config", "/services", "/routes", "/status", "/metrics", "/ready", "/api/internal/tenants", "/plugins", "/upstreams")
SPELLINGS = ("X-User-ID", "x-user-id", "X_User_ID", "X-User_Id", "X-USER-ID")
IDENTITY = ("User-ID", "User-Email", "User-Name", "Org-ID", "User-Roles", "Subscription-Plan", "Tenant-ID", "Kombi-Proof")
PLUGINS = {
    "plain": [],
    "keys": [{"name": "key-auth", "config": {"key_names": ["apikey"]}}],
    "basic": [{"name": "basic-auth"}],
    "transformed": [{"name": "request-transformer", "config": {"add": {"headers": ["X-More:1"]}, "remove": {"headers": ["X-Less"]}}}],
    "renamed": [{"name": "request-transformer", "config": {"rename": {"headers": ["X-Mine:X-Other"]}}}],
    "limited": [{"name": "rate-limiting", "config": {"minute": 100000, "policy": "local"}}],
    "cors": [{"name": "cors", "config": {"origins": ["https://app.example"]}}],
    "correlated": [{"name": "correlation-id", "config": {"header_name": "X-Request-ID", "generator": "uuid"}}],
}
EXPRESSIONS = {"word": "~/re/(?<id>[a-z]+)/x$", "number": r"~/v/\d+$", "deep": r"~/api/v\d/items/[^/]+$"}


def config(port):
    routes = [{"name": name, "paths": [f"/{name}"], "plugins": plugins} for name, plugins in PLUGINS.items()]
    routes += [{"name": name, "paths": [path], "strip_path": False} for name, path in EXPRESSIONS.items()]
    return json.dumps({"_format_version": "3.0", "services": [
        {"name": "s", "url": f"http://127.0.0.1:{port}", "routes": routes}],
        "consumers": [{"username": "u", "keyauth_credentials": [{"key": "a-key-of-enough-length-0001"}],
                       "basicauth_credentials": [{"username": "u", "password": "a-password-0001"}]}]})


upstream = Upstream()
gateway = Gateway(config(upstream.port))
AUTHORIZED = {"keys": [("apikey", "a-key-of-enough-length-0001")],
              "basic": [("Authorization", "Basic dTphLXBhc3N3b3JkLTAwMDE=")]}


def test_a_path_means_to_upstream_what_it_meant_to_the_expression():
    """Whatever a spelling leads to, upstream sees a path that fits as it stands."""
    spellings = ["/re/abc/x", "/re/a%62c/x", "/re/abc/y/../x", "/re//abc/x", "/re/abc/./x", "/re/abc/x/", "/re/ABC/x", "/re/abc%2fx",
                 "/re/abc%2Fx", "/re/abc/x%0a", "/re/abc/x%00", "/re/abc/x%3f", "/re/abc/%2e%2e/%2e%2e/config", "/re/abc/x;a=b",
                 "/v/12", "/v/1%32", "/v/12/", "/v/12%0a", "/v/12/../../config", "/v/%d9%a1", "/v/12?/../../config",
                 "/api/v1/items/a", "/api/v1/items/..", "/api/v1/items/%2e%2e", "/api/v1/items/a%2fb", "/api/v1/items/a%5cb",
                 "/api/v1/items/a/../../../internal/x", "/api/v1/items/%252e%252e", "/api/v1/items/a\\..\\b"]
    passed = 0
    for path in spellings:
        upstream.seen.clear()
        answer = gateway.call("GET", path)
        assert answer.status in (200, 400, 404), (path, answer.status)
        assert (answer.status == 200) == bool(upstream.seen), path
        for head in upstream.seen:
            passed += 1
            sent = head.start.split()[1].split("?")[0]
            assert any(re.match(e[1:].replace("(?<", "(?P<"), sent) for e in EXPRESSIONS.values()), (path, sent)
            assert ".." not in sent and "//" not in sent and "\\" not in sent, (path, sent)
    assert passed >= 8, passed


def test_identity_headers_come_from_the_gateway_on_every_route():
    spoofed = [(name, "attacker") for name in SPELLINGS]
    spoofed += [(f"X-{name}", "attacker") for name in IDENTITY] + [(f"X_{name.replace('-', '_')}", "attacker") for name in IDENTITY]
    dropping = [("Connection", "x-user-id, x-kombi-proof, x-org-id, content-length")]
    for name in PLUGINS:
        for headers in (spoofed, spoofed + dropping):
            upstream.seen.clear()
            answer = gateway.call("GET", f"/{name}", [*AUTHORIZED.get(name, []), *headers])
            assert answer.status == 200, (name, answer.status, answer.body)
            for key, value in upstream.seen[0].fields:
                assert "attacker" not in value, (name, key, value)


def test_transformers_can_neither_make_nor_move_identity():
    for change in ({"add": {"headers": ["X-User-ID:root"]}}, {"rename": {"headers": ["X-Mine:X-User-ID"]}},
                   {"replace": {"headers": ["X-Org-ID:o"]}}, {"append": {"headers": ["x_user_roles:admin"]}}):
        bad = json.loads(config(upstream.port))
        bad["services"][0]["routes"][0]["plugins"] = [{"name": "request-transformer", "config": change}]
        answer = gateway.call("POST", "/config", [("Content-Type", "application/json")], json.dumps(bad).encode(), admin=True)
        assert answer.status == 400, (change, answer.status)
        assert gateway.call("GET", "/plain").status == 200


def test_the_internal_listener_is_not_reached_through_the_proxy():
    internal = gateway.admin.split("//")[1]
    for path in INTERNAL:
        for host in ("api.test", "127.0.0.1", "localhost", internal, "[::1]"):
            for target in (path, "/plain/.." + path, "/plain/%2e%2e" + path, f"http://{host}{path}", "//" + path.lstrip("/")):
                upstream.seen.clear()
                answer = gateway.raw(request_bytes("GET", target, host=host))
                assert answer.status in (400, 404), (target, host, answer.status)
                assert not upstream.seen, (target, host)


def test_no_web_page_reaches_the_internal_listener():
    body, port = b'{"_format_version":"3.0"}', gateway.admin.rsplit(":", 1)[1]
    for host, headers in (("evil.example", []), (f"evil.example:{port}", []), ("127.0.0.1.evil.example", []), ("localhost.", []),
                          ("127.0.0.1", [("Origin", "http://evil.example")]), ("127.0.0.1", [("Origin", "null")]),
                          ("127.0.0.1", [("Origin", f"http://127.0.0.1:{port}.evil.example")])):
        for method, path, sent in (("POST", "/config", body), ("GET", "/services", None), ("DELETE", "/services/s", None)):
            answer = gateway.raw(request_bytes(method, path, [("Content-Type", "text/plain"), *headers], sent, host), admin=True)
            assert answer.status in (400, 403), (host, headers, method, path, answer.status)
    assert gateway.call("GET", "/plain").status == 200


def test_a_cookie_of_separators_alone_harms_nobody():
    for cookie in (";" * 8000, "a;" * 4000, "=;" * 4000, "a=" + "\"" * 4000, "; ; ;"):
        assert gateway.call("GET", "/plain", [("Cookie", cookie)]).status == 200, cookie[:8]


def main():
    try:
        return run_tests(globals())
    finally:
        gateway.stop()
        upstream.stop()


sys.exit(main())
