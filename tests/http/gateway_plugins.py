#!/usr/bin/env python3
"""The gateway's plugins over real sockets: what a recording upstream gets, and
what the client gets. Starts gateways of its own with the program that runs it:
tests/support/captive gateway tests/http/gateway_plugins.py"""
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Issuer, Upstream, proof_is_good, run_tests, send  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-plugins-test-"))
UPSTREAM, ISSUER = Upstream(), Issuer(FOLDER)

# Plugins of the route /NAME of a service without authentication.
OPEN, CLOSED = {}, {}

OPEN["headers"] = [("request-transformer", {
    "remove": {"headers": ["X-Gone", "x-twice"]},
    "rename": {"headers": ["X-Old:X-New"]},
    "replace": {"headers": ["X-There:replaced", "X-Not-There:never", "Host:other.example"]},
    "add": {"headers": ["X-Added:yes", "X-Kept:no", "X-From-Query:a-$(query_params.who)-b", "X-Copy:$(headers.x_gone)",
                        "X-Missing:$(query_params.none or 'nobody')", "X-Colons:a:b", "X-Literal:$('$(x)')",
                        "X-Claim:$(jwt_claims.sub)", "Authorization:Basic eA=="]},
    "append": {"headers": ["X-Many:three"]}})]
OPEN["query"] = [("request-transformer", {
    "remove": {"querystring": ["gone"]}, "rename": {"querystring": ["old:new"]},
    "replace": {"querystring": ["there:x y"]}, "add": {"querystring": ["added:1", "kept:no"]},
    "append": {"querystring": ["many:3", "who:$(headers.x_who)"]}})]
OPEN["body"] = [("request-transformer", {
    "remove": {"body": ["gone"]}, "rename": {"body": ["old:new"]}, "replace": {"body": ["there:r"]},
    "add": {"body": ["added:$(headers.x-who)", "kept:no"]}, "append": {"body": ["many:3"]}})]
OPEN["method"] = [("request-transformer", {"http_method": "POST", "replace": {"uri": "/users/$(query_params.id)/x"}})]
CLOSED["claims"] = [("request-transformer", {
    "add": {"headers": ["X-Forwarded-By:Kong", "X-Service-Name:Mine", "X-Numbers:$(jwt_claims.numbers)",
                        "X-Object:$(jwt_claims[\"an:object\"])", "X-Absent:$(jwt_claims.absent)"]},
    "replace": {"headers": ["X-User-ID:$(jwt_claims.sub)", "X-Org-ID:$(jwt_claims.\"urn:zitadel:iam:org:id\")",
                            "X-User-Locale:$(jwt_claims.locale)", "X-Sub:$(jwt_claims.sub)"]}})]
OPEN["answers"] = [("response-transformer", {
    "remove": {"headers": ["X-Gone"], "json": ["gone"]}, "rename": {"headers": ["X-Old:X-New"], "json": ["old:new"]},
    "replace": {"headers": ["X-There:r"], "json": ["there:1"], "json_types": ["number"]},
    "add": {"headers": ["X-Added:$(not.a.template)", "X-Kept:no"], "json": ["added:true", "text:true"], "json_types": ["boolean", "string"]},
    "append": {"headers": ["X-Many:three"], "json": ["many:3"]}})]
OPEN["allowed"] = [("ip-restriction", {"allow": ["127.0.0.0/30", "::1"], "deny": ["127.0.0.2"]})]
OPEN["denied"] = [("ip-restriction", {"deny": ["10.1.2.3", "127.0.0.1/32"]})]
OPEN["others"] = [("ip-restriction", {"allow": ["10.0.0.0/8", "fd00::/8"], "status": 418, "message": "Not from there"})]
OPEN["closed"] = [("request-termination", {})]
OPEN["maintenance"] = [("request-termination", {"status_code": 451, "message": "Come \"back\" later"})]
OPEN["page"] = [("request-termination", {"status_code": 200, "content_type": "text/html", "body": "<p>here</p>"})]
OPEN["fine"] = [("request-termination", {"status_code": 202, "message": "done"})]
OPEN["trigger"] = [("request-termination", {"status_code": 403, "trigger": "X-Stop"})]
OPEN["echo"] = [("request-termination", {"status_code": 404, "echo": True, "trigger": "echo", "message": "seen"})]
OPEN["bots"] = [("bot-detection", {"deny": ["^curl/", "(?i)wget"], "allow": ["curl/7", "Googlebot/2"]})]

KEYED = {"keys": [("key-auth", {"realm": "home"})],
         "hidden": [("key-auth", {"key_names": ["api_key"], "key_in_query": True, "hide_credentials": True})],
         "inbody": [("key-auth", {"key_names": ["apikey", "k2"], "key_in_body": True, "hide_credentials": True})],
         "grouped": [("key-auth", {}), ("acl", {"allow": ["gold"]})],
         "maybe": [("key-auth", {"anonymous": "nobody"})],
         "lost": [("key-auth", {"anonymous": "does-not-exist"})],
         "planned": [("key-auth", {}), ("rate-limiting-advanced", {
             "identifier": "jwt_claim_plan", "limit": [1, 2, 3], "window_size": [3600, 3600, 3600]})],
         "counted": [("key-auth", {"anonymous": "nobody"}), ("rate-limiting", {"hour": 2, "year": 3})]}
CLOSED["both"] = [("key-auth", {})]
OPEN["limited"] = [("rate-limiting", {"hour": 3, "year": 5, "limit_by": "ip"})]
OPEN["quiet"] = [("rate-limiting", {"hour": 1, "limit_by": "service", "hide_client_headers": True, "error_code": 503,
                                    "error_message": "Slow down"})]
OPEN["tiny"] = [("rate-limiting", {"second": 2, "limit_by": "ip"})]
OPEN["header"] = [("rate-limiting", {"day": 1, "limit_by": "header", "header_name": "X-Device"})]
OPEN["path"] = [("rate-limiting", {"day": 1, "limit_by": "path", "path": "/path/a"})]

GOLD, PLAIN, SALTED = "gold-0123456789abcdef", "plain-0123456789abcdef", "salted-0123456789abcdef"
SALT = bytes(range(16))
CONSUMERS = [
    {"username": "gold", "custom_id": "gold-1", "tags": ["plan:pro", "org:org-9", "role:extra"], "acls": [{"group": "gold"}],
     "keyauth_credentials": [{"key": GOLD, "id": "11111111-2222-4333-8444-555555555555"}]},
    {"username": "plain", "keyauth_credentials": [{"key": PLAIN}, {
        "key": f"sha256:{SALT.hex()}:{hashlib.sha256(SALT + SALTED.encode()).hexdigest()}"}]},
    {"username": "nobody"}]


def config(open_routes, closed_routes, consumers=CONSUMERS):
    def routes(table):
        return [{"name": name, "paths": [f"/{name}"], "plugins": [{"name": plugin, "config": conf} for plugin, conf in plugins]}
                for name, plugins in table.items()]
    jwt = {"name": "jwt", "config": {"issuer": ISSUER.url, "jwks_uri": f"{ISSUER.url}/keys", "audience": ["kombify"]}}
    url = f"http://127.0.0.1:{UPSTREAM.port}"
    return json.dumps({"_format_version": "3.0", "consumers": list(consumers), "services": [
        {"name": "open", "url": url, "read_timeout": 5000, "routes": routes(open_routes)},
        {"name": "keyed", "url": url, "read_timeout": 5000, "tags": ["callee:stack"], "routes": routes(KEYED)},
        {"name": "stack", "url": url, "read_timeout": 5000, "plugins": [jwt], "routes": routes(closed_routes)}]})


GW = None


def sent(answer):
    """What upstream got: start line, header fields by lower name, body."""
    assert answer.status == 200, (answer.status, answer.body)
    data = answer.json()
    fields = {}
    for name, value in data["headers"]:
        fields.setdefault(name.lower(), []).append(value)
    return data["start"], fields, data["body"]


def envelope(answer, status, code):
    assert answer.status == status, (answer.status, answer.body)
    error = answer.json()["error"]
    assert error["code"] == code and error["requestId"] == answer.head.get("X-Request-ID"), error
    return error


# ---- request-transformer -----------------------------------------------------


def test_header_rules_run_in_kongs_order_on_the_original_values():
    _, got, _ = sent(GW.call("GET", "/headers?who=me", [
        ("X-Gone", "1"), ("X-TWICE", "1"), ("x-twice", "2"), ("x-old", "o"), ("X-New", "n"), ("X-There", "a"), ("X-There", "b"),
        ("X-Kept", "yes"), ("X-Many", "one"), ("X-Many", "two")]))
    assert "x-gone" not in got and "x-twice" not in got and "x-old" not in got
    assert got["x-new"] == ["o"] and got["x-there"] == ["replaced"] and "x-not-there" not in got
    assert got["host"] == ["other.example"] and got["x-added"] == ["yes"] and got["x-kept"] == ["yes"]
    assert got["x-from-query"] == ["a-me-b"] and got["x-copy"] == ["1"] and got["x-missing"] == ["nobody"]
    assert got["x-colons"] == ["a:b"] and got["x-literal"] == ["$(x)"] and got["x-many"] == ["one", "two", "three"]
    assert got["authorization"] == ["Basic eA=="]


def test_a_value_of_a_client_cannot_break_a_line():
    _, got, _ = sent(GW.call("GET", "/headers?who=a%0d%0aX-User-ID:%20root", []))
    assert got["x-from-query"] == ["a--b"] and "x-user-id" not in got


def test_claims_without_a_token_set_nothing_and_keep_nothing_of_the_client():
    _, got, _ = sent(GW.call("GET", "/headers", [("X-Claim", "root")]))
    assert "x-claim" not in got


def test_query_rules_keep_what_they_do_not_name():
    start, _, _ = sent(GW.call("GET", "/query?a=%2f&gone=1&old=%20x&there=1&there=2&kept=yes&many=1&many=2&gone&z", [("X-Who", "a&=")]))
    args = start.split()[1].split("?", 1)[1].split("&")
    assert args == ["a=%2f", "there=x%20y", "kept=yes", "many=1", "many=2", "z", "new=%20x", "added=1", "many=3",
                    "who=a%26%3D"], args
    start, _, _ = sent(GW.call("GET", "/headers?a=%2f&&b=+1", []))
    assert start == "GET /?a=%2f&&b=+1 HTTP/1.1", start


def body_of(data, content_type="application/json", headers=()):
    _, got, body = sent(GW.call("POST", "/body", [("Content-Type", content_type), ("X-Who", 'a"b')] + list(headers), body=data))
    if "content-length" in got:
        assert int(got["content-length"][0]) == len(body), (got, body)
    return body


def test_json_bodies_are_changed_member_by_member():
    body = body_of(b'{"gone":1,"old":[],"there":{"x":1},"kept":true,"many":[1, 2],"big":123456789012345678901234567890,"e":"\\u00e9 }"}')
    assert json.loads(body) == {"there": "r", "kept": True, "many": [1, 2, "3"], "big": 123456789012345678901234567890, "e": "é }",
                                "new": [], "added": 'a"b'}, body
    assert "123456789012345678901234567890" in body
    assert json.loads(body_of(b'{"many":"x"}'))["many"] == ["x", "3"]
    assert json.loads(body_of(b' {"many" : [ ] } '))["many"] == ["3"]
    assert json.loads(body_of(b"{}", "application/json; charset=utf-8")) == {"added": 'a"b', "kept": "no", "many": ["3"]}
    assert json.loads(body_of(b"")) == {"added": 'a"b', "kept": "no", "many": ["3"]}


def test_forms_are_changed_argument_by_argument():
    body = body_of(b"gone=1&old=a+b&there=1&kept=yes&many=1&gone=2", "application/x-www-form-urlencoded")
    assert body == "there=r&kept=yes&many=1&new=a+b&added=a%22b&many=3", body


def test_bodies_that_are_not_understood_pass_as_they_are():
    for data in (b"[1,2]", b'{"gone":1', b'{"gone":1,"gone":2}', b"\xff\xfe", b'"x"'):
        assert body_of(data).encode("latin-1") == data
    assert body_of(b'{"gone":1}', "text/plain") == '{"gone":1}'


def test_chunked_bodies_are_read_whole_and_too_large_ones_refused():
    chunks = b'5\r\n{"gon\r\n6\r\ne":1}\r\n\r\n0\r\n\r\n'.replace(b'6\r\ne":1}\r\n\r\n', b'5\r\ne":1}\r\n')
    answer = GW.raw(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert json.loads(sent(answer)[2]) == {"added": "", "kept": "no", "many": ["3"]}
    envelope(GW.call("POST", "/body", [("Content-Type", "application/json")], body=b" " * (1 << 20) + b"{}"), 413, "PAYLOAD_TOO_LARGE")
    waits = GW.raw(b'POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n'
                   b'Content-Length: 10\r\n\r\n{"gone":1}')
    assert "gone" not in sent(waits)[2]


def test_method_and_path_are_set_and_no_value_walks_to_another_place():
    start, _, _ = sent(GW.call("GET", "/method/any?id=a%20b", []))
    assert start == "POST /users/a%20b/x?id=a%20b HTTP/1.1", start
    for bad in ("..", "a%2f..%2f..%2fb", "%2e%2e", "a%5cb"):
        before = len(UPSTREAM.seen)
        envelope(GW.call("GET", f"/method?id={bad}", []), 400, "VALIDATION_FAILED")
        assert len(UPSTREAM.seen) == before


def test_identity_comes_from_the_verified_token_alone():
    token = ISSUER.token(numbers=[1, "two", True], locale="de", **{"an:object": {"a": {"b": 1}}})
    forged = [("X-User-ID", "root"), ("X-Org-ID", "root"), ("X-User-Locale", "root"), ("X-Sub", "root"), ("X-Absent", "root"),
              ("X-Service-Name", "root"), ("X-Forwarded-By", "root")]
    for _ in range(2):
        _, got, _ = sent(GW.call("GET", "/claims", forged, token=token))
        assert got["x-user-id"] == ["user-1"] and got["x-org-id"] == ["org-1"] and got["x-user-locale"] == ["de"]
        assert got["x-sub"] == ["user-1"] and "x-absent" not in got and got["x-numbers"] == ["1,two,true"]
        assert json.loads(got["x-object"][0]) == {"a": {"b": 1}} and got["x-service-name"] == ["Mine"]
        assert got["x-forwarded-by"] == ["Kong"] and "authorization" not in got
    assert proof_is_good(UPSTREAM.seen[-1], "GET", "stack")
    envelope(GW.call("GET", "/claims", forged), 401, "AUTH_REQUIRED")


# ---- response-transformer ----------------------------------------------------


def answering(path, body, content_type="application/json", extra="", status=200):
    UPSTREAM.rules[path] = lambda wire, head: (wire.body(head), send(wire, status, body, content_type, extra)) and None


def test_header_rules_change_the_answer_and_nothing_of_the_gateways():
    answering("/plain", b"x", "text/plain", "X-Gone: 1\r\nX-Old: o\r\nX-New: n\r\nX-There: a\r\nX-There: b\r\nX-Kept: yes\r\nX-Many: one\r\n")
    answer = GW.call("GET", "/answers/plain")
    head = answer.head
    assert answer.body == b"x" and head.get("X-Gone") is None and head.all("X-New") == ["o"] and head.all("X-There") == ["r"]
    assert head.all("X-Added") == ["$(not.a.template)"] and head.all("X-Kept") == ["yes"] and head.all("X-Many") == ["one", "three"]
    assert len(head.all("X-Request-ID")) == 1 and len(head.all("Content-Type")) == 1 and len(head.all("Content-Length")) == 1
    assert head.get("X-Frame-Options") and head.get("X-Content-Type-Options") == "nosniff"


def test_json_answers_are_changed_and_framed_anew():
    answering("/members", b'{"gone":1,"old":2,"there":{},"many":["1"],"big":12345678901234567890}', "application/json; charset=utf-8", 'ETag: "a"\r\n')
    answer = GW.call("GET", "/answers/members", [("Accept-Encoding", "gzip")])
    assert answer.json() == {"new": 2, "there": 1, "many": ["1", "3"], "big": 12345678901234567890, "added": True, "text": "true"}
    assert answer.head.get("Content-Length") == str(len(answer.body)) and answer.head.get("ETag") is None
    assert UPSTREAM.seen[-1].get("Accept-Encoding") is None
    UPSTREAM.rules["/chunked"] = lambda wire, head: wire.sock.sendall(
        b"HTTP/1.1 201 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{\"gone\r\n4\r\n\":1}\r\n0\r\n\r\n")
    answer = GW.call("GET", "/answers/chunked")
    assert answer.status == 201 and answer.json() == {"added": True, "text": "true", "many": ["3"]}, answer.body


def test_answers_that_are_no_json_objects_pass_as_they_are():
    for number, (body, kind, extra) in enumerate([(b"[1]", "application/json", ""), (b'{"gone":', "application/json", ""),
                                                  (b'{"gone":1}', "text/plain", ""), (b"\x1f\x8b", "application/json", "Content-Encoding: gzip\r\n"),
                                                  (b"", "application/json", "")]):
        answering(f"/pass{number}", body, kind, extra)
        assert GW.call("GET", f"/answers/pass{number}").body == body
    UPSTREAM.rules["/head"] = lambda wire, head: wire.sock.sendall(
        b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n")
    assert GW.call("HEAD", "/answers/head").status == 200
    UPSTREAM.rules["/none"] = lambda wire, head: wire.sock.sendall(b"HTTP/1.1 204 X\r\nContent-Type: application/json\r\n\r\n")
    assert GW.call("GET", "/answers/none").status == 204


def test_an_answer_that_breaks_off_or_is_too_large_becomes_an_error():
    UPSTREAM.rules["/cut"] = lambda wire, head: wire.sock.sendall(
        b'HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a":') and None or False
    envelope(GW.call("GET", "/answers/cut"), 502, "SERVICE_UNAVAILABLE")
    answering("/huge", b'{"a":"' + b"x" * (4 << 20) + b'"}')
    answer = GW.call("GET", "/answers/huge")
    envelope(answer, 502, "SERVICE_UNAVAILABLE")
    assert answer.head.all("Content-Type") == ["application/json"]
    assert GW.call("GET", "/answers/plain").status == 200


def test_the_gateways_own_answers_get_header_rules_too():
    UPSTREAM.rules["/junk"] = lambda wire, head: wire.sock.sendall(b"nonsense\r\n\r\n") and False or False
    answer = GW.call("GET", "/answers/junk")
    envelope(answer, 502, "SERVICE_UNAVAILABLE")
    assert answer.head.all("X-Added") and answer.head.all("Content-Type") == ["application/json"]


# ---- ip-restriction, request-termination, bot-detection ----------------------


def test_addresses_pass_or_not_by_their_network():
    assert GW.call("GET", "/allowed").status == 200
    assert envelope(GW.call("GET", "/denied"), 403, "AUTH_INSUFFICIENT")["message"] == "IP address not allowed: 127.0.0.1"
    answer = GW.call("GET", "/others", [("X-Forwarded-For", "10.0.0.1"), ("X-Real-IP", "10.0.0.1")])
    assert envelope(answer, 418, "VALIDATION_FAILED")["message"] == "Not from there"


def test_behind_trusted_proxies_the_clients_address_counts():
    gateway = Gateway(config({name: OPEN[name] for name in ("allowed", "denied", "others")}, {}), KOMBI_TRUSTED_PROXIES="127.0.0.1/32")
    try:
        for path, address, status in (("/others", "10.9.8.7", 200), ("/others", "fd12::1", 200), ("/others", "11.0.0.1", 418),
                                      ("/allowed", "127.0.0.2", 403), ("/allowed", "127.0.0.3", 200), ("/allowed", "127.0.0.4", 403),
                                      ("/denied", "10.1.2.3", 403), ("/denied", "10.1.2.4", 200), ("/allowed", "::1", 200),
                                      ("/denied", "::ffff:10.1.2.3", 403)):
            got = gateway.call("GET", path, [("X-Forwarded-For", address)]).status
            assert got == status, (path, address, got)
    finally:
        gateway.stop()


def test_a_route_can_be_answered_without_upstream():
    before = len(UPSTREAM.seen)
    envelope(GW.call("GET", "/closed"), 503, "SERVICE_UNAVAILABLE")
    envelope(GW.call("POST", "/closed", body=b"x" * 100000), 503, "SERVICE_UNAVAILABLE")
    assert envelope(GW.call("GET", "/maintenance"), 451, "VALIDATION_FAILED")["message"] == 'Come "back" later'
    page = GW.call("GET", "/page")
    assert (page.status, page.body, page.head.get("Content-Type")) == (200, b"<p>here</p>", "text/html")
    fine = GW.call("GET", "/fine")
    assert fine.status == 202 and fine.json() == {"message": "done"}
    envelope(GW.call("GET", "/trigger", [("x-stop", "")]), 403, "AUTH_INSUFFICIENT")
    envelope(GW.call("GET", "/trigger?a=1&X-Stop"), 403, "AUTH_INSUFFICIENT")
    echo = GW.call("GET", "/echo/a%20b?echo=1&x", [("Authorization", "Bearer SECRETMARK")])
    assert echo.status == 404 and b"SECRETMARK" not in echo.body
    said = echo.json()
    assert said["message"] == "seen" and said["request"]["path"] == "/echo/a%20b" and said["request"]["query"] == "echo=1&x"
    assert "Authorization" in said["request"]["headers"] and said["route"] == "echo" and said["service"] == "open"
    assert len(UPSTREAM.seen) == before
    assert GW.call("GET", "/trigger?stop=1").status == 200 and GW.call("GET", "/echo").status == 200


def test_programs_are_refused_by_their_user_agent():
    for agent, status in (("curl/8.0", 403), ("curl/7.88", 200), ("GNU WGET/1", 403), ("Mozilla/5.0", 200), ("sqlmap/1.6", 403),
                          ("Googlebot/2.1", 200), ("Googlebot-Image", 403), ("", 200), ("a" * 600 + "curl", 200)):
        got = GW.call("GET", "/bots", [("User-Agent", agent)])
        assert got.status == status, (agent, got.status)
    assert GW.call("GET", "/bots").status == 200
    envelope(GW.call("GET", "/bots", [("User-Agent", "curl/8.0")]), 403, "AUTH_INSUFFICIENT")
    envelope(GW.call("GET", "/bots", [("User-Agent", "Mozilla"), ("User-Agent", "curl/8")]), 400, "VALIDATION_FAILED")


# ---- key-auth -----------------------------------------------------------------


def key(value, name="X-Api-Key"):
    return [(name, value)]


def test_a_key_makes_its_consumer_the_caller_with_a_proof():
    forged = [("X-Consumer-Username", "root"), ("X-User-ID", "root"), ("X-Credential-Identifier", "root"), ("X-Anonymous-Consumer", "true")]
    for _ in range(2):
        _, got, _ = sent(GW.call("GET", "/keys", key(GOLD) + forged))
        assert got["x-user-id"] == ["gold-1"] and got["x-org-id"] == ["org-9"] and got["x-user-roles"] == ["extra,gold"]
        assert got["x-subscription-plan"] == ["pro"] and got["x-consumer-username"] == ["gold"] and got["x-consumer-custom-id"] == ["gold-1"]
        assert got["x-credential-identifier"] == ["11111111-2222-4333-8444-555555555555"] and "x-anonymous-consumer" not in got
        assert len(got["x-consumer-id"][0]) == 36 and "root" not in str(got)
        assert proof_is_good(UPSTREAM.seen[-1], "GET", "stack")
    _, got, _ = sent(GW.call("GET", "/keys", key(PLAIN, "apikey")))
    assert got["x-user-id"] == ["plain"] and got["x-subscription-plan"] == ["free"] and "x-consumer-custom-id" not in got
    assert "x-user-roles" not in got and "x-org-id" not in got
    _, got, _ = sent(GW.call("GET", "/keys", key(SALTED)))
    assert got["x-user-id"] == ["plain"]


def test_missing_wrong_and_repeated_keys_are_refused_with_a_challenge():
    answer = GW.call("GET", "/keys")
    assert envelope(answer, 401, "AUTH_REQUIRED")["message"] == "No API key found in request"
    assert 'Key realm="home"' in answer.head.all("WWW-Authenticate"), answer.head.fields
    envelope(GW.call("GET", "/keys", key("")), 401, "AUTH_REQUIRED")
    for bad in ("x", GOLD[:-1], GOLD + "x", GOLD.upper(), "a" * 2000, "sha256:" + SALT.hex(), "*" * len(GOLD)):
        envelope(GW.call("GET", "/keys", key(bad)), 401, "AUTH_INVALID")
    assert envelope(GW.call("GET", "/keys", key(GOLD) * 2), 401, "AUTH_INVALID")["message"] == "Duplicate API key found"
    for query in (f"?apikey={GOLD}", f"?X-Api-Key={GOLD}"):
        envelope(GW.call("GET", "/keys" + query), 401, "AUTH_REQUIRED")
    envelope(GW.call("GET", "/keys", [("Authorization", f"Bearer {ISSUER.token()}")]), 401, "AUTH_REQUIRED")


def test_keys_can_be_hidden_from_upstream_and_come_in_the_query_when_the_file_says_so():
    for path, headers in (("/hidden?a=%2f&z", key(PLAIN, "api-key")), (f"/hidden?a=%2f&api_key={PLAIN}&z", []),
                          (f"/hidden?a=%2f&api_key=other&z", key(PLAIN, "API-KEY"))):
        start, got, _ = sent(GW.call("GET", path, headers))
        assert start == "GET /?a=%2f&z HTTP/1.1", start
        assert "api-key" not in got and got["x-user-id"] == ["plain"]
    envelope(GW.call("GET", f"/hidden?api_key={PLAIN}&api_key={PLAIN}"), 401, "AUTH_INVALID")
    envelope(GW.call("GET", "/hidden?api_key"), 401, "AUTH_REQUIRED")


def test_groups_open_what_acl_closes_and_plans_choose_limits():
    assert GW.call("GET", "/grouped", key(GOLD)).status == 200
    envelope(GW.call("GET", "/grouped", key(PLAIN)), 403, "AUTH_INSUFFICIENT")
    got = [GW.call("GET", "/planned", key(GOLD)) for _ in range(3)]
    assert [answer.status for answer in got] == [200, 200, 429] and got[0].head.get("X-RateLimit-Limit") == "2"
    assert [GW.call("GET", "/planned", key(PLAIN)).status for _ in range(2)] == [200, 429]


def test_both_plugins_are_asked_and_the_last_one_names_the_caller():
    token = ISSUER.token()
    envelope(GW.call("GET", "/both", token=token), 401, "AUTH_REQUIRED")
    envelope(GW.call("GET", "/both", key(GOLD)), 401, "AUTH_REQUIRED")
    _, got, _ = sent(GW.call("GET", "/both", key(GOLD), token=token))
    assert got["x-user-id"] == ["gold-1"] and "authorization" not in got and proof_is_good(UPSTREAM.seen[-1], "GET", "stack")


def test_nobody_passes_as_the_anonymous_consumer_without_an_identity():
    _, got, _ = sent(GW.call("GET", "/maybe", [("X-User-ID", "root")]))
    assert got["x-consumer-username"] == ["nobody"] and got["x-anonymous-consumer"] == ["true"]
    assert "x-user-id" not in got and "x-kombi-proof" not in got and "x-credential-identifier" not in got
    _, got, _ = sent(GW.call("GET", "/maybe", key(GOLD)))
    assert got["x-consumer-username"] == ["gold"] and "x-anonymous-consumer" not in got
    envelope(GW.call("GET", "/maybe", key("wrong")), 401, "AUTH_INVALID")
    envelope(GW.call("GET", "/lost"), 500, "CONFIGURATION_ERROR")


def test_keys_are_in_no_log_and_a_reload_takes_one_away():
    gateway = Gateway(config({}, {}))
    try:
        assert gateway.call("GET", "/keys", key(GOLD)).status == 200
        gateway.reload(config({}, {}, CONSUMERS[1:]))
        assert gateway.call("GET", "/keys", key(GOLD)).status == 401
        assert gateway.call("GET", "/keys", key(PLAIN)).status == 200
        for secret in (GOLD, PLAIN, SALTED):
            assert secret not in gateway.logged()
    finally:
        gateway.stop()


def test_a_key_may_be_in_a_form_or_a_json_body_and_does_not_go_on():
    form, js = ("Content-Type", "application/x-www-form-urlencoded"), ("Content-Type", "application/json; charset=utf-8")
    post = lambda kind, body, *headers: GW.call("POST", "/inbody", [kind, *headers], body)  # noqa: E731
    _, got, body = sent(post(form, f"a=1&apikey={GOLD}&b=valu%651".encode()))
    assert got["x-consumer-username"] == ["gold"] and GOLD not in body and body.startswith("a=1&b=value1"[:6]), body
    _, got, body = sent(post(js, json.dumps({"a": 1, "k2": PLAIN, "b": ["x"]}).encode()))
    assert got["x-consumer-username"] == ["plain"] and json.loads(body) == {"a": 1, "b": ["x"]}, body
    # each name in header, then body, before the next name
    _, got, _ = sent(post(js, json.dumps({"apikey": GOLD}).encode(), ("k2", PLAIN)))
    assert got["x-consumer-username"] == ["gold"]
    for kind, body in ((form, b"apikey=x&apikey=y"), (form, b"apikey="), (js, b'{"apikey": 5}'), (js, b'["apikey"]'), (js, b"{"),
                       (("Content-Type", "text/plain"), f"apikey={GOLD}".encode()), (js, b"")):
        assert post(kind, body).status == 401, (kind, body)
    assert post(form, b"apikey=" + b"x" * 2000000).status == 413


# ---- rate-limiting --------------------------------------------------------------


def test_limits_are_counted_in_windows_of_the_calendar():
    limited = [(name, answer.head.get(name)) for answer in [GW.call("GET", "/limited")] for name in (
        "X-RateLimit-Limit-Hour", "X-RateLimit-Remaining-Hour", "X-RateLimit-Limit-Year", "X-RateLimit-Remaining-Year",
        "RateLimit-Limit", "RateLimit-Remaining", "X-RateLimit-Limit", "X-RateLimit-Remaining")]
    assert [value for _, value in limited] == ["3", "2", "5", "4", "3", "2", "3", "2"], limited
    answers = [GW.call("GET", "/limited", [("X-Forwarded-For", f"10.0.0.{i}")]) for i in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    last = answers[-1]
    assert envelope(last, 429, "RATE_LIMITED")["message"] == "API rate limit exceeded"
    assert last.head.get("X-RateLimit-Remaining-Hour") == "0" and last.head.get("X-RateLimit-Remaining-Year") == "2"
    wait, reset = int(last.head.get("Retry-After")), int(last.head.get("X-RateLimit-Reset"))
    assert reset % 3600 == 0 and abs(time.time() + wait - reset) < 5 and last.head.get("RateLimit-Reset") == last.head.get("Retry-After")


def test_upstreams_own_headers_of_limits_do_not_pass():
    UPSTREAM.rules["/limits"] = lambda wire, head: send(wire, 200, b"x", extra="X-RateLimit-Remaining: 999\r\nRateLimit-Limit: 999\r\n")
    answer = GW.call("GET", "/tiny/limits")
    assert len(answer.head.all("X-RateLimit-Remaining")) == 1 and answer.head.get("RateLimit-Limit") == "2"
    assert GW.call("GET", "/bots/limits").head.get("X-RateLimit-Remaining") == "999"


def test_a_window_that_ends_lets_requests_pass_again():
    def five():
        return [GW.call("GET", "/tiny").status for _ in range(5)]
    begin = time.monotonic()
    results = []
    while time.monotonic() - begin < 2.5:
        results += five()
    assert 200 in results and 429 in results
    assert 4 <= results.count(200) <= 8, results.count(200)


def test_consumers_have_limits_of_their_own_and_others_their_address():
    assert [GW.call("GET", "/counted", key(GOLD)).status for _ in range(3)] == [200, 200, 429]
    assert [GW.call("GET", "/counted", key(PLAIN)).status for _ in range(3)] == [200, 200, 429]
    assert [GW.call("GET", "/counted", key(SALTED)).status for _ in range(1)] == [429]
    assert [GW.call("GET", "/counted").status for _ in range(3)] == [200, 200, 429]


def test_service_header_and_path_choose_what_is_counted():
    first, second = GW.call("GET", "/quiet"), GW.call("GET", "/quiet")
    assert first.status == 200 and first.head.get("X-RateLimit-Limit") is None
    assert envelope(second, 503, "SERVICE_UNAVAILABLE")["message"] == "Slow down" and second.head.get("Retry-After")
    assert [GW.call("GET", "/header", [("X-Device", name)]).status for name in ("a", "b", "a")] == [200, 200, 429]
    assert [GW.call("GET", "/header").status for _ in range(2)] == [200, 429]
    assert [GW.call("GET", path).status for path in ("/path/a", "/path/b", "/path/a", "/path/c")] == [200, 200, 429, 429]


if __name__ == "__main__":
    GW = Gateway(config(OPEN, CLOSED))
    try:
        status = run_tests(dict(globals()))
    finally:
        GW.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(status)
