#!/usr/bin/env python3
"""Routes by expressions, headers and schemes, routes without a service, and
plugins of consumers and groups, over real sockets. Runs as
tests/support/captive gateway tests/http/gateway_routing.py"""
import base64
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, run_tests  # noqa: E402

UPSTREAM = Upstream()
KEYS = {name: f"key-of-{name}-0123456789" for name in ("alice", "bob", "carol", "dave")}

CONFIG = """_format_version: "3.0"
services:
- name: s
  url: http://127.0.0.1:%d/base
  routes:
  - name: item
    paths: ["~/shops/(?<shop>[a-z]+)/items/(\\\\d+)$"]
    strip_path: false
    plugins:
    - name: request-transformer
      config: {add: {headers: ["X-Shop:$(uri_captures.shop)", "X-Item:$(uri_captures[2])"]}}
  - {name: stripped, paths: ["~/v\\\\d+/things"]}
  - {name: shops, paths: [/shops], strip_path: false}
  - {name: beta, paths: [/shops], strip_path: false, headers: {X-Channel: [beta, "~*^rc[0-9]$"]}}
  - {name: secure, paths: [/secure], protocols: [https], https_redirect_status_code: 308}
  - {name: upgrade, paths: [/upgrade], protocols: [https]}
  - name: keyed
    paths: [/keyed]
    plugins:
    - {name: key-auth, config: {}}
    - {name: response-transformer, config: {add: {headers: ["X-Whose:all"]}}}
  - name: password
    paths: [/password]
    plugins: [{name: basic-auth, config: {realm: home}}]
  - {name: moved, paths: [/moved], plugins: [{name: redirect, config: {location: "https://new.example/x", keep_incoming_path: true}}]}
routes:
- {name: nobody, paths: [/nobody]}
- {name: answered, paths: [/answered], plugins: [{name: request-termination, config: {status_code: 200, message: here}}]}
consumer_groups:
- {name: gold, plugins: [{name: response-transformer, config: {add: {headers: ["X-Whose:gold"]}}}]}
consumers:
- username: alice
  keyauth_credentials: [{key: "%s"}]
  basicauth_credentials: [{username: alice, password: "open: sesame"}]
  plugins: [{name: response-transformer, config: {add: {headers: ["X-Whose:alice"]}}}]
  groups: [{name: gold}]
- {username: bob, keyauth_credentials: [{key: "%s"}]}
- {username: carol, groups: [{name: gold}], keyauth_credentials: [{key: "%s"}]}
- {username: dave, keyauth_credentials: [{key: "%s"}]}
plugins:
- {name: request-termination, consumer: bob, route: keyed, config: {status_code: 451, message: no}}
""" % (UPSTREAM.port, KEYS["alice"], KEYS["bob"], KEYS["carol"], KEYS["dave"])


def call(path, headers=(), method="GET"):
    return GW.call(method, path, headers)


def start(answer):
    assert answer.status == 200, (answer.status, answer.body)
    return answer.json()["start"]


def seen(answer):
    return {name.lower(): value for name, value in answer.json()["headers"]}


def test_groups_of_an_expression_reach_the_transformer():
    answer = call("/shops/acme/items/42")
    assert start(answer) == "GET /base/shops/acme/items/42 HTTP/1.1"
    assert seen(answer)["x-shop"] == "acme" and seen(answer)["x-item"] == "42"
    assert "x-shop" not in seen(call("/shops/acme/items/none"))


def test_what_an_expression_matched_is_stripped():
    assert start(call("/v12/things/7?a=b")) == "GET /base/7?a=b HTTP/1.1"


def test_headers_choose_the_route():
    def route_of(headers):
        path = "/shops/log-" + (headers[0][1] if headers else "none")
        call(path, headers)
        return GW.line_of(path)["route"]

    assert route_of([]) == "shops"
    assert route_of([("X-Channel", "beta")]) == "beta"
    assert route_of([("x-channel", "RC1")]) == "beta"
    assert route_of([("X-Channel", "rcx")]) == "shops"


def test_http_is_sent_to_https_as_the_route_says():
    answer = call("/secure/a?b=c")
    assert answer.status == 308 and answer.head.get("Location") == "https://api.test/secure/a?b=c"
    answer = call("/upgrade")
    assert answer.status == 426 and "TLS" in answer.head.get("Upgrade")


def test_a_route_without_a_service_is_503_unless_a_plugin_answers():
    answer = call("/nobody")
    assert answer.status == 503 and answer.json()["error"]["message"] == "no Service found with those values"
    assert call("/answered").status == 200


def test_a_consumers_own_plugin_comes_before_his_groups_and_the_routes():
    def whose(name):
        return call("/keyed", [("apikey", KEYS[name])]).head.get("X-Whose")

    assert [whose(name) for name in ("alice", "carol", "dave")] == ["alice", "gold", "all"]
    assert call("/keyed", [("apikey", KEYS["bob"])]).status == 451
    assert call("/keyed").status == 401


def test_passwords_open_only_to_who_has_them():
    def basic(text):
        return call("/password", [("Authorization", "Basic " + base64.b64encode(text.encode()).decode())])

    answer = basic("alice:open: sesame")
    assert answer.status == 200
    headers = seen(answer)
    assert headers["x-consumer-username"] == headers["x-credential-identifier"] == "alice"
    assert "authorization" not in headers
    for wrong in ("alice:open", "alice:", "bob:open: sesame", "alice"):
        assert basic(wrong).status == 401, wrong
    answer = call("/password")
    assert answer.status == 401
    assert 'Basic realm="home", charset="UTF-8"' in answer.head.all("WWW-Authenticate")
    assert call("/password", [("Authorization", "Basic !!")]).status == 401


def test_redirects_keep_what_was_asked_for():
    answer = call("/moved/a%20b?c=d")
    assert answer.status == 301 and answer.head.get("Location") == "https://new.example/moved/a%20b?c=d"


def test_kongs_router_takes_raw_prefixes():
    kong = Gateway(CONFIG, KOMBI_ROUTER="kong")
    try:
        assert kong.call("GET", "/shopsxyz").json()["start"] == "GET /base/shopsxyz HTTP/1.1"
        assert call("/shopsxyz").status == 404
        assert kong.call("GET", "/api/internal/x").status == 404
    finally:
        kong.stop()


if __name__ == "__main__":
    GW = Gateway(CONFIG)
    try:
        STATUS = run_tests(dict(globals()))
    finally:
        GW.stop()
        UPSTREAM.stop()
    sys.exit(STATUS)
