#!/usr/bin/env python3
"""Browsers that sign in through the gateway, against a strict issuer and a
Redis of the test's own: tests/support/captive gateway tests/http/gateway_oidc.py"""
# not-quick: clocks of tokens and of Redis are waited for
import json
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, proof_is_good, run_tests, send, until  # noqa: E402
from oidc_rig import Browser, Redis, StrictIssuer  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-oidc-test-"))
CALLBACK = "https://api.test/auth/callback"
SESSION_SECRET = "9d2f5c81e07b4a36b1c4d7e8f9a0b3c2"
COOKIE = "kombi_sid"
UPSTREAM, REDIS = Upstream(), Redis(FOLDER)
ISSUER = StrictIssuer(FOLDER, [CALLBACK])
A = B = None


def config(**more):
    oidc = {"issuer": ISSUER.url, "client_id": [ISSUER.CLIENT], "client_secret": [ISSUER.SECRET], "audience": ["kombify"],
            "redirect_uri": [CALLBACK], "login_path": "/auth/login", "logout_uri_suffix": "/auth/logout",
            "logout_redirect_uri": ["https://app.test/bye"], "backchannel_logout_path": "/auth/backchannel",
            "return_urls": ["https://app.test", "https://docs.test/here"], "trusted_origins": ["https://app.test"],
            "login_redirect_uri": ["https://app.test/start"], "logout_revoke": True, "userinfo": True, **more}
    jwt = {"name": "jwt", "config": {"issuer": ISSUER.url, "audience": ["kombify"], "run_on_preflight": False}}
    beside = {"name": "openid-connect", "config": {**oidc, "beside_jwt": True}}
    url = f"http://127.0.0.1:{UPSTREAM.port}"
    return json.dumps({"_format_version": "3.0", "services": [
        {"name": "stack", "url": url, "read_timeout": 5000, "routes": [
            {"name": "app", "paths": ["/app"], "plugins": [{"name": "oidc", "config": oidc}]},
            {"name": "auth", "paths": ["/auth"], "plugins": [{"name": "openid-connect", "config": oidc}]},
            {"name": "api", "paths": ["/v1/things"], "protocols": ["http", "https", "ws"], "plugins": [jwt, beside]},
            {"name": "sso", "paths": ["/kombistack/sso/start"], "strip_path": False, "plugins": [
                jwt, beside, {"name": "sso-start", "config": {"return_urls": ["https://app.test/after"]}}]},
            {"name": "bearer", "paths": ["/v1/bearer"], "plugins": [jwt]}]}]})


def start(secret=SESSION_SECRET, **env):
    gateway = Gateway(config(), REDIS_HOST="127.0.0.1", REDIS_PORT=str(REDIS.port), OIDC_SESSION_SECRET=secret,
                      KOMBI_WORKERS="2", **env)
    until(lambda: all(Browser(gateway).visit("/app").status == 302 for _ in range(16)), 10, "Redis at both loops")
    return gateway


def upstream_got(answer):
    assert answer.status == 200, (answer.status, answer.body)
    fields = {}
    for name, value in answer.json()["headers"]:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def refused(answer, status, code, text=""):
    assert answer.status == status, (answer.status, answer.body)
    error = answer.json()["error"]
    assert error["code"] == code and text in error["message"], error


def as_user(sub):
    ISSUER.user = {"sub": sub, "email": f"{sub}@example.org", "name": "Ané One", "sid": f"sid-{sub}"}
    browser = Browser(A)
    browser.sign_in(ISSUER)
    return browser


# ---- the whole way -------------------------------------------------------------


def test_a_page_sends_to_the_issuer_and_back_to_itself_with_a_session():
    browser = Browser(A)
    home = browser.sign_in(ISSUER, "/app/page?x=1&y=a%20b")
    assert home.head.get("Location") == "/app/page?x=1&y=a%20b", home.head.fields
    assert list(browser.jar) == [COOKIE] and len(browser.jar[COOKIE]) == 22, browser.jar
    page = browser.visit("/app/page?x=1")
    head = upstream_got(page)
    assert head["x-user-id"] == ["user-1"] and head["x-user-email"] == ["one@example.org"], head
    assert head["x-user-name"] == ["An%C3%A9%20One"] and head["x-org-id"] == ["org-1"], head
    assert head["x-user-roles"] == ["user"] and head["x-subscription-plan"] == ["pro"], head
    assert "cookie" not in head and "authorization" not in head, head
    assert proof_is_good(UPSTREAM.seen[-1], "GET", "stack")


def test_the_identity_is_that_of_a_bearer_of_the_same_token():
    browser = as_user("user-1")
    session = upstream_got(browser.visit("/app/a"))
    bearer = upstream_got(A.call("GET", "/app/a", token=ISSUER.token(email="user-1@example.org")))
    for name in ("x-user-id", "x-user-email", "x-user-name", "x-org-id", "x-user-roles", "x-subscription-plan"):
        assert session[name] == bearer[name], (name, session, bearer)


def test_other_cookies_go_on_and_the_session_does_not():
    browser = as_user("user-1")
    answer = A.call("GET", "/app/a", [("Cookie", f"theme=dark; {COOKIE}={browser.jar[COOKIE]}; lang=de")])
    assert upstream_got(answer)["cookie"] == ["theme=dark; lang=de"]


def test_programs_get_the_envelope_instead_of_a_redirect():
    for headers in ([], [("Accept", "application/json")], [("Sec-Fetch-Mode", "cors"), ("Accept", "text/html")],
                    [("Accept", "text/html"), ("X-Requested-With", "XMLHttpRequest")]):
        refused(A.call("GET", "/app/a", headers), 401, "AUTH_REQUIRED")
    refused(A.call("POST", "/app/a", [("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html")], b"x"), 401, "AUTH_REQUIRED")


def test_beside_jwt_either_a_bearer_token_or_a_session_is_enough():
    browser = as_user("user-1")
    assert upstream_got(browser.call("GET", "/v1/things"))["x-user-id"] == ["user-1"]
    assert upstream_got(A.call("GET", "/v1/things", token=ISSUER.token(sub="two")))["x-user-id"] == ["two"]
    refused(A.call("GET", "/v1/things"), 401, "AUTH_REQUIRED")
    refused(A.call("GET", "/v1/things", browser.cookies(), token="x.y.z"), 401, "AUTH_INVALID")
    refused(browser.call("GET", "/v1/bearer"), 401, "AUTH_REQUIRED")


def test_two_gateways_share_sessions():
    browser = as_user("user-1")
    for gateway in (A, B, A, B):
        assert upstream_got(browser.visit("/app/a", gateway))["x-user-id"] == ["user-1"]


def test_a_sign_in_begun_at_one_gateway_ends_at_another():
    browser = Browser(A)
    away = browser.visit("/app/a")
    back = browser.back(ISSUER.authorize(away.head.get("Location")))
    assert browser.visit(back, B).status == 303
    assert browser.visit("/app/a", A).status == 200


def test_opaque_access_tokens_leave_the_identity_to_the_id_token():
    ISSUER.opaque = True
    try:
        head = upstream_got(as_user("user-7").visit("/app/a"))
        assert head["x-user-id"] == ["user-7"] and head["x-user-email"] == ["user-7@example.org"], head
        assert head["x-org-id"] == ["org-1"] and head["x-subscription-plan"] == ["pro"], head
    finally:
        ISSUER.opaque = False


def test_who_comes_to_the_login_path_returns_to_an_allowed_address_only():
    for asked, target in (("https://app.test/a?b=c", "https://app.test/a?b=c"), ("/app/x?y=z", "/app/x?y=z"),
                          ("https://docs.test/here/x", "https://docs.test/here/x"),
                          ("https://evil.test/", "https://app.test/start"), (None, "https://app.test/start")):
        path = "/auth/login" + ("?" + urllib.parse.urlencode({"returnUrl": asked}) if asked else "")
        assert Browser(A).sign_in(ISSUER, path).head.get("Location") == target, asked


TRICKS = ["//evil.test", "/\\evil.test", "\\\\evil.test", "///evil.test", "/%2f/evil.test", "/%5cevil.test", "/\t/evil.test",
          "https:evil.test", "https:/evil.test", "https:\\\\evil.test", "https://app.test@evil.test", "https://app.test:80@evil.test/",
          "https://app.test.evil.test", "https://app.test%2eevil.test", "https://evil.test#https://app.test",
          "https://evil.test?https://app.test", "https://evil.test\\.app.test", "http://app.test/", "HTTPS://app.test.evil.test",
          "javascript:alert(1)", "data:text/html,x", "https://app.test:8443/", "https://xapp.test/", "https://docs.test/hereabouts",
          "https://docs.test/here/../there", "https://docs.test/here/%2e%2e/there", "https://docs.test/", " https://app.test",
          "https://app.test\r\nX: y", "/a\r\nSet-Cookie: x=y", "/..//evil.test", "/.//evil.test", "https://app.test\u3002evil.test",
          "", "app.test", "?", "https://", "https:///app.test", "ftp://app.test/", "//app.test/", "https://APP.TEST@evil.test",
          "https://app.test\u0000.evil.test", "https://[::1]/", "http://127.0.0.1/", "https://app.test/\u00e9"]


def test_no_trick_makes_an_open_redirect():
    browser = as_user("user-1")
    for trick in TRICKS:
        path = "/auth/login?" + urllib.parse.urlencode({"returnUrl": trick})
        answer = browser.visit(path)
        assert answer.status == 302 and answer.head.get("Location") == "https://app.test/start", (trick, answer.head.fields)


def exchanged(wire, head):
    EXCHANGES.append(head)
    send(wire, 200, json.dumps({"token": "tok.en-1", "redirectUrl": "/tenant/acme/dashboard"}).encode(), "application/json")


EXCHANGES = []


def test_launching_the_stack_takes_a_session_or_sends_to_sign_in_and_back():
    UPSTREAM.rules["/api/internal/sso/exchange"] = exchanged
    browser = Browser(A)
    home = browser.sign_in(ISSUER, "/kombistack/sso/start?returnUrl=https%3A%2F%2Fapp.test%2Fafter%2Fx%3Fy%3Dz")
    start = browser.visit(home.head.get("Location"))
    assert start.status == 302 and start.head.get("Location") == "https://app.test/after/x?y=z", start.head.fields
    cookie = next(line for line in start.head.all("Set-Cookie") if line.startswith("kombi_session="))
    assert cookie == "kombi_session=tok.en-1; HttpOnly; SameSite=Lax; Path=/", cookie
    assert EXCHANGES[-1].get("X-User-ID") == ISSUER.user["sub"] and proof_is_good(EXCHANGES[-1], "POST", "stack")
    assert browser.visit("/kombistack/sso/start").head.get("Location") == "/tenant/acme/dashboard"
    refused(A.call("GET", "/kombistack/sso/start"), 401, "AUTH_REQUIRED")
    bearer = A.call("GET", "/kombistack/sso/start", token=ISSUER.token())
    assert bearer.status == 302 and bearer.head.get("Location") == "/tenant/acme/dashboard"
    before = len(EXCHANGES)
    for trick in TRICKS + ["https://app.test/", "https://app.test/afterwards", "https://app.test/after/../x"]:
        path = "/kombistack/sso/start?" + urllib.parse.urlencode({"returnUrl": trick})
        refused(browser.visit(path), 400, "VALIDATION_FAILED", "returnUrl")
    refused(browser.visit("/kombistack/sso/start?returnUrl=/a&returnUrl=//evil.test"), 400, "VALIDATION_FAILED")
    assert len(EXCHANGES) == before


# ---- tampering ---------------------------------------------------------------------


def begin(gateway=None):
    browser = Browser(gateway or A)
    away = browser.visit("/app/page")
    assert away.status == 302, (away.status, away.body)
    back = browser.back(ISSUER.authorize(away.head.get("Location")))
    return browser, back


def changed(back, **args):
    split = urllib.parse.urlsplit(back)
    q = {**dict(urllib.parse.parse_qsl(split.query)), **args}
    return split.path + "?" + urllib.parse.urlencode({k: v for k, v in q.items() if v is not None})


def test_an_answer_without_its_state_or_cookie_is_refused():
    browser, back = begin()
    for path in (changed(back, state=None), changed(back, state="A" * 22), changed(back, code=None), changed(back, code=""),
                 changed(back, state="short"), changed(back, state=None, code=None), back + "&state=again"):
        refused(Browser(A).visit(path), 401, "AUTH_INVALID")
    refused(Browser(A).visit(back), 401, "AUTH_INVALID", "begin again")
    other, _ = begin()
    refused(other.visit(back), 401, "AUTH_INVALID", "begin again")
    name, value = next((k, v) for k, v in browser.jar.items())
    for wrong in (value[:-2] + ("AA" if value[-2:] != "AA" else "BB"), "enc:v1:AAAA", "", "x" * 3000):
        victim = Browser(A)
        victim.jar[name] = wrong
        refused(victim.visit(back), 401, "AUTH_INVALID", "begin again")
    renamed = Browser(A)
    renamed.jar[COOKIE + "_auth_AAAAAAAA"] = value
    refused(renamed.visit(changed(back, state="A" * 22)), 401, "AUTH_INVALID", "begin again")
    assert browser.visit(back).status == 303


def test_a_code_and_its_state_are_good_once():
    browser, back = begin()
    cookies = dict(browser.jar)
    assert browser.visit(back).status == 303
    thief = Browser(B)
    thief.jar = cookies
    refused(thief.visit(back), 401, "AUTH_INVALID", "begin again")
    assert COOKIE not in thief.jar


def test_a_code_of_somebody_elses_sign_in_is_refused():
    victim, back = begin()
    _, stolen = begin()
    code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(stolen).query))["code"]
    refused(victim.visit(changed(back, code=code)), 401, "AUTH_INVALID")


def test_an_answer_of_another_issuer_is_refused():
    browser, back = begin()
    refused(browser.visit(changed(back, iss="https://other.test")), 401, "AUTH_INVALID")
    browser, back = begin()
    assert browser.visit(changed(back, iss=ISSUER.url)).status == 303


def test_what_the_issuer_refuses_is_told():
    browser, back = begin()
    refused(browser.visit(changed(back, code=None, error="access_denied")), 401, "AUTH_INVALID", "access_denied")
    browser, back = begin()
    refused(browser.visit(changed(back, code=None, error="<script>")), 401, "AUTH_INVALID", "The identity provider refused")


def test_id_tokens_that_do_not_fit_sign_nobody_in():
    def put(**claims):
        return lambda c: c.update(claims)
    now = int(time.time())
    for name, twist in {
            "nonce": put(nonce="another"), "no nonce": lambda c: c.pop("nonce"), "aud": put(aud=["other"]),
            "azp": put(azp="other"), "audiences without azp": lambda c: (c.pop("azp"), c.update(aud=[ISSUER.CLIENT, "x"])),
            "iss": put(iss="https://other.test"), "expired": put(exp=now - 100), "old": put(iat=now - 4000),
            "future": put(iat=now + 400), "at_hash": put(at_hash="AAAAAAAAAAAAAAAAAAAAAA"), "no sub": put(sub=None),
            "another sub": put(sub="other"), "key": lambda c: c.update(alg="HS256")}.items():
        if name == "key":
            continue
        ISSUER.twist["id_token"] = twist
        try:
            browser, back = begin()
            refused(browser.visit(back), 401, "AUTH_INVALID", "not accepted")
            assert COOKIE not in browser.jar, name
        finally:
            ISSUER.twist.clear()
    for twist in (lambda o: o.pop("id_token"), lambda o: o.update(token_type="mac"), lambda o: o.pop("access_token"),
                  lambda o: o.update(id_token=o["access_token"]), lambda o: o.update(access_token=o["id_token"])):
        ISSUER.twist["answer"] = twist
        try:
            browser, back = begin()
            refused(browser.visit(back), 401, "AUTH_INVALID", "not accepted")
        finally:
            ISSUER.twist.clear()


def test_an_id_token_with_one_bit_changed_is_refused():
    def flip(o):
        head, body, signature = o["id_token"].split(".")
        o["id_token"] = f"{head}.{body}.{'B' if signature[0] != 'B' else 'C'}{signature[1:]}"
    ISSUER.twist["answer"] = flip
    try:
        browser, back = begin()
        refused(browser.visit(back), 401, "AUTH_INVALID", "not accepted")
    finally:
        ISSUER.twist.clear()


def test_userinfo_of_another_subject_is_not_believed():
    ISSUER.twist["userinfo"] = lambda c: c.update(sub="other", email="evil@example.org")
    try:
        head = upstream_got(as_user("user-8").visit("/app/a"))
        assert "x-user-email" not in head, head
    finally:
        ISSUER.twist.clear()


def test_the_secret_is_shown_nowhere():
    secret = json.dumps(ISSUER.SECRET)[1:-1]
    for path in ("/plugins", "/config", "/status", "/schemas/plugins/openid-connect"):
        answer = A.call("GET", path, admin=True)
        assert answer.status == 200 and secret.encode() not in answer.body and SESSION_SECRET.encode() not in answer.body, path
    plugin = next(p for p in A.call("GET", "/plugins", admin=True).json()["data"] if p["name"] in ("oidc", "openid-connect"))
    answer = A.call("PUT", f"/plugins/{plugin['id']}", [("Content-Type", "application/json")], json.dumps(plugin).encode(), admin=True)
    assert answer.status == 200, (answer.status, answer.body)
    as_user("user-after")  # the mask that was sent back stands for the secret
    assert secret not in A.logged() and SESSION_SECRET not in A.logged() and "eyJ" not in A.logged()


# ---- sessions -----------------------------------------------------------------------


def test_an_id_from_before_signing_in_is_not_used_after_it():
    browser = Browser(A)
    browser.jar[COOKIE] = "AAAAAAAAAAAAAAAAAAAAAA"
    browser.sign_in(ISSUER)
    assert browser.jar[COOKIE] != "AAAAAAAAAAAAAAAAAAAAAA"
    first = browser.jar[COOKIE]
    browser.jar.pop(COOKIE)
    browser.jar[COOKIE] = first
    away = browser.visit("/auth/login")
    assert away.status == 302 and away.head.get("Location") == "https://app.test/start"


def test_signing_in_again_ends_the_session_before():
    browser = as_user("user-1")
    old = dict(browser.jar)
    browser.jar = {}
    away = browser.visit("/app/a")
    browser.jar.update(old)
    assert browser.visit(browser.back(ISSUER.authorize(away.head.get("Location")))).status == 303
    assert browser.jar[COOKIE] != old[COOKIE]
    assert browser.visit("/app/a").status == 200
    refused(A.call("GET", "/app/a", [("Cookie", f"{COOKIE}={old[COOKIE]}")]), 401, "AUTH_REQUIRED")


def test_cookies_that_are_no_session_are_nobody():
    good = as_user("user-1").jar[COOKIE]
    for value in ("", "x", "A" * 22, "A" * 23, "=" * 22, good + "=", good[:-1], good[:-1] + "!", f'"{good}"', "%41" * 7 + "A",
                  f"{good}; {COOKIE}={'A' * 22}", f"{good}; {COOKIE}={good}"):
        refused(A.call("GET", "/app/a", [("Cookie", f"{COOKIE}={value}")]), 401, "AUTH_REQUIRED")
    refused(A.call("GET", "/app/a", [("Cookie", f"x{COOKIE}={good}")]), 401, "AUTH_REQUIRED")
    assert A.call("GET", "/app/a", [("Cookie", f"a; ;=;b=c;  {COOKIE} = {good} ;")]).status == 200


def test_what_lies_in_redis_tells_nothing_and_cannot_be_changed_or_moved():
    browser = as_user("user-secret")
    keys = REDIS.command("KEYS", "kombi:session:*")
    values = {key: REDIS.command("GET", key) for key in keys if not key.endswith(":lock")}
    assert values
    for key, value in values.items():
        assert value.startswith("enc:v1:") and "user-secret" not in value
        assert "." not in value  # as in any token; ciphertext in base64 has none
        assert browser.jar[COOKIE] not in key
        assert 0 < int(REDIS.command("TTL", key)) <= 900
    other = as_user("user-1")
    new = next(key for key in REDIS.command("KEYS", "kombi:session:*") if key not in values)
    stolen = next(iter(values.values()))
    REDIS.command("SET", new, stolen)  # somebody else's record under this id
    refused(other.call("GET", "/app/a", gateway=B), 401, "AUTH_REQUIRED")


def test_another_secret_opens_no_session():
    browser = as_user("user-1")
    later = "00112233445566778899aabbccddeeff"
    stranger, heir = start(later), start(later, OIDC_SESSION_SECRET_NEXT=SESSION_SECRET)
    try:
        refused(stranger.call("GET", "/app/a", browser.cookies()), 401, "AUTH_REQUIRED")
        assert heir.call("GET", "/app/a", browser.cookies()).status == 200
    finally:
        stranger.stop()
        heir.stop()


def test_a_warm_session_asks_redis_once_in_five_seconds():
    browser = as_user("user-1")
    browser.visit("/app/a")

    def gets():
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in REDIS.command("INFO", "commandstats").splitlines()
                   if line.startswith("cmdstat_get:"))
    before = gets()
    for _ in range(200):
        assert browser.call("GET", "/app/a").status == 200
    assert gets() - before <= 4, gets() - before


# ---- other sites --------------------------------------------------------------------


def test_another_site_changes_nothing_with_a_session():
    browser = as_user("user-1")
    good = [[("Origin", "http://api.test")], [("Origin", "https://app.test")], [("Sec-Fetch-Site", "same-origin")],
            [("Origin", "http://API.test")]]
    loops = range(6)  # known to some loops and not to others
    bad = [[], [("Origin", "https://evil.test")], [("Origin", "null")], [("Origin", "https://app.test.evil.test")],
           [("Origin", "https://api.test")], [("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")],
           [("Sec-Fetch-Site", "none")], [("Origin", "https://evil.test"), ("Sec-Fetch-Site", "same-origin")],
           [("Origin", "http://api.test"), ("Origin", "https://evil.test")], [("Origin", "")]]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for headers in good:
            assert browser.call(method, "/v1/things", headers, b"{}").status == 200, (method, headers)
        for headers in bad:
            refused(browser.call(method, "/v1/things", headers, b"{}"), 403, "AUTH_INSUFFICIENT")
    for _ in loops:
        refused(as_user("user-1").call("POST", "/v1/things", [], b"{}"), 403, "AUTH_INSUFFICIENT")
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "x" * 22 + "==")]
    refused(browser.call("GET", "/v1/things", upgrade + [("Origin", "https://evil.test")]), 403, "AUTH_INSUFFICIENT")
    assert A.call("POST", "/v1/things", [("Origin", "https://evil.test")], b"{}", token=ISSUER.token()).status == 200


# ---- signing out ----------------------------------------------------------------------


def test_signing_out_ends_the_session_everywhere_and_goes_to_the_issuer():
    browser = as_user("user-1")
    assert browser.visit("/app/a", B).status == 200
    cookies = browser.cookies()
    refused(browser.call("POST", "/auth/logout", [("Origin", "https://evil.test")], b""), 403, "AUTH_INSUFFICIENT")
    refused(browser.call("GET", "/auth/logout"), 405, "METHOD_NOT_ALLOWED")
    revoked = len(ISSUER.revoked)
    answer = browser.call("POST", "/auth/logout", [("Origin", "http://api.test")], b"")
    assert answer.status == 303, (answer.status, answer.body)
    to = urllib.parse.urlsplit(answer.head.get("Location"))
    q = dict(urllib.parse.parse_qsl(to.query))
    assert to.path == "/end" and q["client_id"] == ISSUER.CLIENT and q["id_token_hint"].count(".") == 2, to
    assert q["post_logout_redirect_uri"] == "https://app.test/bye", q
    assert len(ISSUER.revoked) == revoked + 1
    assert COOKIE not in browser.jar
    for gateway in (A, B):
        for _ in range(8):  # all loops
            until(lambda: gateway.call("GET", "/app/a", cookies).status == 401, 3, "the end of the session")


def test_a_script_is_told_where_to_go_after_signing_out():
    browser = as_user("user-1")
    answer = browser.call("DELETE", "/auth/logout", [("Origin", "https://app.test"), ("Accept", "application/json")])
    assert answer.status == 200 and answer.json()["data"]["redirectUrl"].startswith(ISSUER.url + "/end?"), answer.body
    again = Browser(A).call("POST", "/auth/logout", [("Origin", "https://app.test")], b"")
    assert again.status == 303 and "id_token_hint" not in again.head.get("Location")


def letter(token, gateway=None, **more):
    body = urllib.parse.urlencode({"logout_token": token, **more}).encode()
    return (gateway or A).call("POST", "/auth/backchannel", [("Content-Type", "application/x-www-form-urlencoded")], body)


def test_the_issuer_ends_a_session_by_sid():
    one, two = as_user("user-b1"), as_user("user-b2")
    cookies = one.cookies()
    assert one.visit("/app/a", B).status == 200
    answer = letter(ISSUER.logout_token(sid="sid-user-b1", sub="user-b1"))
    assert answer.status == 200 and "no-store" in answer.head.get("Cache-Control"), answer.body
    for gateway in (A, B):
        until(lambda: gateway.call("GET", "/app/a", cookies).status == 401, 5, "the end of the session")
    assert two.visit("/app/a").status == 200
    assert A.call("GET", "/v1/bearer", token=ISSUER.token(sub="user-b1", iat=int(time.time()) - 60)).status == 200


def test_the_issuer_ends_all_sessions_of_a_subject():
    one, other = as_user("user-b3"), as_user("user-b3")
    assert letter(ISSUER.logout_token(sub="user-b3")).status == 200
    for browser in (one, other):
        until(lambda: browser.call("GET", "/app/a", gateway=B).status == 401, 5, "the end of the session")


def test_logout_tokens_that_do_not_fit_end_nothing():
    browser = as_user("user-b4")
    now, event = int(time.time()), "http://schemas.openid.net/event/backchannel-logout"
    for claims in ({"sub": None}, {"sub": "user-b4", "nonce": "x"}, {"sub": "user-b4", "events": None}, {"sub": "user-b4", "events": {}},
                   {"sub": "user-b4", "events": {event: "x"}}, {"sub": "user-b4", "events": [event]},
                   {"sub": "user-b4", "aud": ["other"]}, {"sub": "user-b4", "iss": "https://other.test"}, {"sub": "user-b4", "jti": None},
                   {"sub": "user-b4", "iat": now - 4000}, {"sub": "user-b4", "exp": now - 100}, {"sub": "user-b4", "iat": None}):
        refused(letter(ISSUER.logout_token(**claims)), 400, "VALIDATION_FAILED")
    good = ISSUER.logout_token(sub="user-b4")
    for token in ("", "x", good[:-4], good.replace(".", "", 1), ISSUER.token(sub="user-b4")):
        refused(letter(token), 400, "VALIDATION_FAILED")
    refused(A.call("POST", "/auth/backchannel", [("Content-Type", "application/json")], b"{}"), 415, "UNSUPPORTED_MEDIA_TYPE")
    refused(A.call("GET", "/auth/backchannel"), 405, "METHOD_NOT_ALLOWED")
    twice = f"logout_token={good}&logout_token={good}".encode()
    refused(A.call("POST", "/auth/backchannel", [("Content-Type", "application/x-www-form-urlencoded")], twice), 400, "VALIDATION_FAILED")
    assert browser.visit("/app/a").status == 200


# ---- locked users ---------------------------------------------------------------------


def test_a_locked_user_is_refused_within_seconds_with_session_and_token():
    browser = as_user("user-locked")
    token = ISSUER.token(sub="user-locked")
    other = ISSUER.token(sub="user-fine")
    for gateway in (A, B):
        assert browser.visit("/app/a", gateway).status == 200
        assert gateway.call("GET", "/v1/bearer", token=token).status == 200
    REDIS.command("ZADD", "kombi:revoked", "GT", int(time.time()), "user:user-locked")
    began = time.monotonic()
    for gateway in (A, B):
        for _ in range(8):  # both loops of each
            until(lambda: gateway.call("GET", "/v1/bearer", token=token).status == 401, 5, "the lock")
            until(lambda: gateway.call("GET", "/app/a", browser.cookies()).status == 401, 5, "the lock")
        refused(gateway.call("GET", "/v1/bearer", token=token), 401, "AUTH_INVALID", "revoked")
        assert gateway.call("GET", "/v1/bearer", token=other).status == 200
    assert time.monotonic() - began < 4
    # A token that was never seen here is refused as well; a later one is good.
    refused(A.call("GET", "/v1/bearer", token=ISSUER.token(sub="user-locked", jti="new", iat=int(time.time()) - 30)), 401, "AUTH_INVALID")
    assert A.call("GET", "/v1/bearer", token=ISSUER.token(sub="user-locked", iat=int(time.time()) + 5)).status == 200


# ---- refreshing -----------------------------------------------------------------------


def test_tokens_are_refreshed_before_they_end_by_one_gateway_only():
    ISSUER.life = 30  # ends within the minute in which tokens are refreshed beside
    try:
        browser = as_user("user-r1")
        ISSUER.life = 600
        before = ISSUER.count["refresh"]
        threads = [threading.Thread(target=lambda g=g: [browser.call("GET", "/app/a", gateway=g) for _ in range(20)])
                   for g in (A, B, A, B)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: ISSUER.count["refresh"] == before + 1, 5, "the refresh")
        assert browser.call("GET", "/app/a", gateway=B).status == 200
        assert ISSUER.count["refresh"] == before + 1 and ISSUER.count["reused"] == 0, ISSUER.count
    finally:
        ISSUER.life = 600


def test_a_token_that_has_ended_is_refreshed_while_the_request_waits():
    for with_id_token in (True, False):
        ISSUER.life, ISSUER.id_token_at_refresh = 1, with_id_token
        try:
            browser = as_user("user-r2")
            ended = time.time() + 1.1
            ISSUER.life = 600
            before = ISSUER.count["refresh"]
            until(lambda: time.time() > ended, 3, "the end of the token")
            head = upstream_got(browser.call("GET", "/app/a"))
            assert head["x-user-id"] == ["user-r2"] and head["x-user-email"] == ["user-r2@example.org"], head
            assert ISSUER.count["refresh"] == before + 1, ISSUER.count
            assert browser.call("GET", "/app/a", gateway=B).status == 200
        finally:
            ISSUER.life, ISSUER.id_token_at_refresh = 600, True
    assert ISSUER.count["reused"] == 0


def test_a_session_ends_when_the_issuer_refuses_to_refresh():
    ISSUER.life = 1
    browser = as_user("user-r3")
    ISSUER.life = 600
    ended = time.time() + 1.1
    for grant in ISSUER.refreshes.values():
        grant["used"] = grant["used"] or grant["user"]["sub"] == "user-r3"
    until(lambda: time.time() > ended, 3, "the end of the token")
    refused(browser.call("GET", "/app/a"), 401, "AUTH_REQUIRED")
    assert COOKIE not in browser.jar
    ISSUER.count["reused"] = 0


def test_without_a_refresh_token_a_session_ends_with_its_token():
    ISSUER.life, ISSUER.gives_refresh = 1, False
    try:
        browser = as_user("user-r4")
        ended = time.time() + 1.1
        until(lambda: time.time() > ended, 3, "the end of the token")
        assert browser.visit("/app/a").status == 302
    finally:
        ISSUER.life, ISSUER.gives_refresh = 600, True


# ---- when others are away ---------------------------------------------------------------


def test_an_issuer_that_is_down_is_told_and_comes_back():
    browser, back = begin()
    ISSUER.down = True
    try:
        refused(browser.visit(back), 503, "SERVICE_UNAVAILABLE", "identity provider")
    finally:
        ISSUER.down = False
    as_user("user-1")


def test_a_refresh_with_the_issuer_down_keeps_the_session():
    ISSUER.life = 1
    browser = as_user("user-d1")
    ISSUER.life = 600
    ended = time.time() + 1.1
    ISSUER.down = True
    try:
        until(lambda: time.time() > ended, 3, "the end of the token")
        refused(browser.call("GET", "/app/a"), 503, "SERVICE_UNAVAILABLE")
    finally:
        ISSUER.down = False
    until(lambda: browser.call("GET", "/app/a").status == 200, 10, "the session")


def test_without_redis_nobody_signs_in_but_known_sessions_go_on():
    browser, (pending, back) = as_user("user-1"), begin()
    unknown = as_user("user-2")
    assert all(browser.visit("/app/a").status == 200 for _ in range(8))
    REDIS.stop()
    try:
        until(lambda: Browser(A).visit("/app/a").status == 503, 5, "the message")
        refused(Browser(A).visit("/app/a"), 503, "SERVICE_UNAVAILABLE", "Nobody can sign in now")
        refused(pending.visit(back), 503, "SERVICE_UNAVAILABLE", "could not be kept")
        began = time.monotonic()
        assert all(browser.visit("/app/a").status == 200 for _ in range(50))
        assert time.monotonic() - began < 2
        until(lambda: time.monotonic() - began > 5.5, 8, "the end of what is fresh")
        assert all(browser.visit("/app/a").status == 200 for _ in range(8))
        refused(unknown.call("GET", "/app/a", gateway=B), 503, "SERVICE_UNAVAILABLE")
        refused(letter(ISSUER.logout_token(sub="nobody")), 503, "SERVICE_UNAVAILABLE")
        assert A.call("GET", "/v1/bearer", token=ISSUER.token()).status == 200
    finally:
        REDIS.start()
    until(lambda: all(Browser(A).visit("/app/a").status == 302 for _ in range(16)), 10, "signing in")
    as_user("user-1")


def main():
    global A, B
    A, B = start(), start()
    code = run_tests(globals())
    A.stop()
    B.stop()
    UPSTREAM.stop()
    REDIS.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
