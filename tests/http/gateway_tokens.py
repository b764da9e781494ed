#!/usr/bin/env python3
"""Bearer tokens: keys that rotate, issuers that fail, identities completed
from userinfo: tests/support/captive gateway tests/http/gateway_tokens.py"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Issuer, Upstream, b64, run_tests  # noqa: E402
from oidc_rig import StrictIssuer  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-tokens-test-"))
UPSTREAM = Upstream()


def folder(name):
    path = FOLDER / name
    path.mkdir()
    return path


ISSUER = StrictIssuer(folder("issuer"), [])
NEXT = Issuer(folder("next"))  # the keys that come after a rotation
GW = NEXT_DOCUMENT = None


def config():
    def jwt(**more):
        return {"name": "jwt", "config": {"issuer": ISSUER.url, "audience": ["kombify"], **more}}
    return json.dumps({"_format_version": "3.0", "services": [
        {"name": "stack", "url": f"http://127.0.0.1:{UPSTREAM.port}", "routes": [
            {"name": "plain", "paths": ["/plain"], "plugins": [jwt()]},
            {"name": "complete", "paths": ["/complete"], "plugins": [jwt(userinfo=True)]}]}]})


def fields_of(answer):
    assert answer.status == 200, (answer.status, answer.body)
    return {name.lower(): value for name, value in answer.json()["headers"]}


def bare(**claims):
    return ISSUER.token(email=None, name=None, **claims)


def renamed(document, kid):
    keys = json.loads(document)
    keys["keys"] = [{**key, "kid": kid} for key in keys["keys"] if key["kty"] == "RSA"]
    return json.dumps(keys).encode()


def signed(kid):
    """A token of the issuer, signed by the key that comes after."""
    now = int(time.time())
    body = {"iss": ISSUER.url, "aud": ["kombify"], "sub": "rotated", "iat": now, "exp": now + 600}
    text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT", "kid": kid}, body))
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", NEXT.key], input=text.encode(),
                               capture_output=True, check=True).stdout
    return f"{text}.{b64(signature)}"


# ---- userinfo --------------------------------------------------------------------


def test_email_and_name_come_from_userinfo_once_for_a_subject():
    ISSUER.user.update(sub="u-1", email="u1@example.org", name="Ü One")
    before = ISSUER.count["userinfo"]
    token = bare(sub="u-1")
    threads = [threading.Thread(target=GW.call, args=("GET", "/complete"), kwargs={"token": token}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    head = fields_of(GW.call("GET", "/complete", token=token))
    assert head["x-user-email"] == "u1@example.org" and head["x-user-name"] == "%C3%9C%20One", head
    assert fields_of(GW.call("GET", "/complete", token=bare(sub="u-1", jti="x")))["x-user-email"] == "u1@example.org"
    assert ISSUER.count["userinfo"] == before + 1, ISSUER.count
    assert "x-user-email" not in fields_of(GW.call("GET", "/plain", token=token))


def test_what_the_token_says_is_not_asked_for():
    before = ISSUER.count["userinfo"]
    head = fields_of(GW.call("GET", "/complete", token=ISSUER.token(sub="u-2")))
    assert head["x-user-email"] == "one@example.org" and ISSUER.count["userinfo"] == before


def test_userinfo_of_another_subject_or_with_a_bad_value_is_not_used():
    for number, twist in enumerate((lambda c: c.update(sub="other"), lambda c: c.update(email="a\r\nX: y"),
                                    lambda c: c.update(name=["x"]))):
        ISSUER.twist["userinfo"] = twist
        ISSUER.user.update(sub=f"u-3{number}")
        try:
            head = fields_of(GW.call("GET", "/complete", token=bare(sub=f"u-3{number}")))
            assert "x-user-email" not in head and head["x-user-id"] == f"u-3{number}", head
        finally:
            ISSUER.twist.clear()


def test_without_userinfo_callers_go_on_without_a_name():
    ISSUER.down = True
    try:
        began = time.monotonic()
        head = fields_of(GW.call("GET", "/complete", token=bare(sub="u-4")))
        assert head["x-user-id"] == "u-4" and "x-user-email" not in head, head
        assert time.monotonic() - began < 3
        assert fields_of(GW.call("GET", "/complete", token=bare(sub="u-4", jti="2")))["x-user-id"] == "u-4"
    finally:
        ISSUER.down = False


# ---- keys -------------------------------------------------------------------------


def test_a_token_of_a_new_key_waits_for_the_key_and_passes():
    """No request fails over a rotation: the first one with the new key asks for it."""
    old = ISSUER.keys_document
    first = ISSUER.token(sub="before")
    assert GW.call("GET", "/plain", token=first).status == 200
    other = json.loads(NEXT_DOCUMENT)
    ISSUER.keys_document = json.dumps({"keys": json.loads(old)["keys"] + other["keys"]}).encode()
    token = signed("k-2")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(GW.call("GET", "/plain", token=token).status)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 12, answers
    assert GW.call("GET", "/plain", token=first).status == 200


def test_a_flood_of_unknown_keys_is_refused_at_once_and_asks_no_more():
    tokens = [signed(f"none-{n}") for n in range(3)]
    assert GW.call("GET", "/plain", token=tokens[0]).status == 401
    began = time.monotonic()
    for token in tokens * 5:
        assert GW.call("GET", "/plain", token=token).status == 401
    assert time.monotonic() - began < 1
    good = ISSUER.token(sub="good")
    assert GW.call("GET", "/plain", token=good).status == 200


def test_keys_stay_good_while_the_issuer_is_down_or_talks_rubbish():
    good = ISSUER.token(sub="stays")
    document = ISSUER.keys_document
    try:
        for rubbish in (b"", b"<html>", b'{"keys":[]}', b"[" * 1000):
            ISSUER.keys_document = rubbish
            assert GW.call("GET", "/plain", token=signed("other")).status == 401
            assert GW.call("GET", "/plain", token=good).status == 200
        ISSUER.down = True
        assert GW.call("GET", "/plain", token=ISSUER.token(sub="new one")).status in (200, 401)
        assert GW.call("GET", "/plain", token=ISSUER.token(sub="new-one")).status == 200
    finally:
        ISSUER.down, ISSUER.keys_document = False, document


def main():
    global GW, NEXT_DOCUMENT
    NEXT_DOCUMENT = renamed(urllib.request.urlopen(NEXT.url + "/keys", timeout=10).read(), "k-2")
    GW = Gateway(config())
    code = run_tests(globals())
    GW.stop()
    UPSTREAM.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
