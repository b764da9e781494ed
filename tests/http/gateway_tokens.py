#!/usr/bin/env python3
"""Bearer tokens: keys that rotate, issuers that fail, identities completed
from userinfo: tests/support/captive gateway tests/http/gateway_tokens.py"""
import base64
import hmac
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
    encoded = {"key": "encoded", "algorithm": "HS256", "secret": base64.b64encode(SHARED.encode()).decode()}
    placeholder = {"key": ISSUER.url, "algorithm": "RS256", "rsa_public_key": "# the issuer's key comes here"}
    consumers = [{"username": "machine", "custom_id": "machine-1", "tags": ["plan:pro"], "jwt_secrets": [*CREDENTIALS, encoded]},
                 {"username": "guest"}, {"username": "platform", "jwt_secrets": [placeholder]}]
    return json.dumps({"_format_version": "3.0", "consumers": consumers, "services": [
        {"name": "stack", "url": f"http://127.0.0.1:{UPSTREAM.port}", "routes": [
            {"name": "plain", "paths": ["/plain"], "plugins": [jwt()]},
            {"name": "consumers", "paths": ["/consumers"], "plugins": [jwt(audience=[], maximum_expiration=3600)]},
            {"name": "named", "paths": ["/named"], "plugins": [jwt(audience=[], key_claim_name="app")]},
            {"name": "encoded", "paths": ["/encoded"], "plugins": [jwt(audience=[], secret_is_base64=True)]},
            {"name": "cookie", "paths": ["/cookie"], "plugins": [jwt(cookie_names=["session_jwt"])]},
            {"name": "anonymous", "paths": ["/anonymous"], "plugins": [jwt(audience=[], anonymous="guest")]},
            {"name": "realm", "paths": ["/realm"], "plugins": [jwt(realm="home")]},
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


# ---- tokens of consumers ---------------------------------------------------------------


def consumer_token(algorithm, head=(), **claims):
    """Signed by the consumer of that algorithm."""
    body = {"iss": f"key-{algorithm}", "sub": "whoever", "iat": int(time.time()), "exp": int(time.time()) + 600, **claims}
    parts = ({"alg": algorithm, "typ": "JWT", **dict(head)}, {k: v for k, v in body.items() if v is not None})
    text = ".".join(b64(json.dumps(part).encode()) for part in parts)
    return f"{text}.{b64(KEYS[algorithm](text.encode()))}"


def make_keys():
    """{algorithm: sign}, and the jwt_secrets of the file."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
    signers, credentials = {}, []
    rsa_key = rsa.generate_private_key(65537, 2048)

    def pem(key):
        return key.public_key().public_bytes(serialization.Encoding.PEM,
                                             serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    def raw(key, text, digest):
        r, s = utils.decode_dss_signature(key.sign(text, ec.ECDSA(digest)))
        half = (key.curve.key_size + 7) // 8
        return r.to_bytes(half, "big") + s.to_bytes(half, "big")
    for bits, digest, curve in ((256, hashes.SHA256(), ec.SECP256R1()), (384, hashes.SHA384(), ec.SECP384R1()),
                                (512, hashes.SHA512(), ec.SECP521R1())):
        key = ec.generate_private_key(curve)
        signers[f"HS{bits}"] = lambda t, b=bits: hmac.new(SHARED.encode(), t, f"sha{b}").digest()
        signers[f"RS{bits}"] = lambda t, d=digest: rsa_key.sign(t, padding.PKCS1v15(), d)
        signers[f"PS{bits}"] = lambda t, d=digest: rsa_key.sign(t, padding.PSS(padding.MGF1(d), d.digest_size), d)
        signers[f"ES{bits}"] = lambda t, d=digest, k=key: raw(k, t, d)
        for name, public in ((f"RS{bits}", pem(rsa_key)), (f"PS{bits}", pem(rsa_key)), (f"ES{bits}", pem(key))):
            credentials.append({"key": f"key-{name}", "algorithm": name, "rsa_public_key": public})
        credentials.append({"key": f"key-HS{bits}", "algorithm": f"HS{bits}", "secret": SHARED})
    return signers, credentials, pem(rsa_key)


SHARED = "a-secret-of-thirty-two-characters"
KEYS, CREDENTIALS, PEM = make_keys()


def test_the_caller_is_the_consumer_whose_key_signed():
    for algorithm in KEYS:
        for _ in range(2):  # new, and remembered
            head = fields_of(GW.call("GET", "/consumers", token=consumer_token(algorithm, sub="somebody-else", email="x@y.z")))
            assert head["x-user-id"] == "machine-1" and head["x-consumer-username"] == "machine", (algorithm, head)
            assert head["x-credential-identifier"] == f"key-{algorithm}" and head["x-subscription-plan"] == "pro", head
            assert "x-user-email" not in head and "authorization" not in head, head


def test_the_key_names_the_algorithm():
    for algorithm in KEYS:
        for other in KEYS:
            if other != algorithm:
                token = consumer_token(other, iss=f"key-{algorithm}")
                assert GW.call("GET", "/consumers", token=token).status == 401, (algorithm, other)
    text = ".".join(b64(json.dumps(part).encode()) for part in (
        {"alg": "HS256"}, {"iss": "key-RS256", "exp": int(time.time()) + 60}))
    for key in (PEM, PEM.strip(), ""):
        mac = b64(hmac.new(key.encode(), text.encode(), "sha256").digest())
        assert GW.call("GET", "/consumers", token=f"{text}.{mac}").status == 401
    for alg in ("none", "None", "", None, "EdDSA", ["HS256"]):
        text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": alg}, {"iss": "key-HS256", "exp": int(time.time()) + 60}))
        for signature in ("", b64(hmac.new(SHARED.encode(), text.encode(), "sha256").digest())):
            assert GW.call("GET", "/consumers", token=f"{text}.{signature}").status == 401, alg


def test_claims_of_consumers_tokens_are_checked():
    now = int(time.time())
    for claims in ({"exp": now - 60}, {"exp": None}, {"nbf": now + 600}, {"exp": now + 7200}, {"exp": "soon"}, {"iss": "nobody"},
                   {"iss": None}, {"iss": 5}, {"iat": now + 600}):
        assert GW.call("GET", "/consumers", token=consumer_token("HS256", **claims)).status == 401, claims
    good = consumer_token("ES256")
    head, body, signature = good.split(".")
    for bad in (f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.", f"{head}.{body}.{b64(bytes(64))}", f"{head}.{body}.{signature}AAAA",
                f"{head}.{body}.{b64(bytes(132))}"):
        assert GW.call("GET", "/consumers", token=bad).status == 401, bad
    assert fields_of(GW.call("GET", "/consumers", token=ISSUER.token(sub="people")))["x-user-id"] == "people"


def test_another_claim_or_the_header_may_name_the_key():
    assert fields_of(GW.call("GET", "/named", token=consumer_token("HS256", iss=None, app="key-HS256")))["x-user-id"] == "machine-1"
    token = consumer_token("HS256", head={"app": "key-HS256"}, iss=None)
    assert fields_of(GW.call("GET", "/named", token=token))["x-user-id"] == "machine-1"
    assert GW.call("GET", "/named", token=consumer_token("HS256")).status == 401


def test_a_cookie_may_bring_the_token_but_not_from_another_site():
    token = ISSUER.token(sub="by-cookie")
    cookie = [("Cookie", f"a=b; session_jwt={token}; session_jwt_other=c")]
    head = fields_of(GW.call("GET", "/cookie", cookie))
    assert head["x-user-id"] == "by-cookie" and head["cookie"] == "a=b; session_jwt_other=c", head
    assert GW.call("POST", "/cookie", cookie, b"{}").status == 403
    assert GW.call("POST", "/cookie", cookie + [("Origin", "https://evil.test")], b"{}").status == 403
    assert GW.call("POST", "/cookie", cookie + [("Origin", "http://api.test")], b"{}").status == 200
    assert GW.call("GET", "/cookie", [("Cookie", f"session_jwt={token}; session_jwt={token}")]).status == 401
    assert GW.call("GET", "/cookie", [("Cookie", "session_jwt=")]).status == 401
    assert fields_of(GW.call("GET", "/cookie", cookie, token=ISSUER.token(sub="by-header")))["x-user-id"] == "by-header"
    assert GW.call("GET", "/plain", cookie).status == 401


def test_where_nobody_need_be_known_no_token_is_the_anonymous_consumer():
    head = fields_of(GW.call("GET", "/anonymous"))
    assert head["x-anonymous-consumer"] == "true" and head["x-consumer-username"] == "guest" and "x-user-id" not in head, head
    assert fields_of(GW.call("GET", "/anonymous", token=consumer_token("HS256")))["x-consumer-username"] == "machine"
    assert GW.call("GET", "/anonymous", token="x.y.z").status == 401


def test_the_challenge_names_the_realm():
    for token in (None, "x.y.z", consumer_token("HS256", exp=1)):
        answer = GW.call("GET", "/anonymous" if token else "/realm", token=token)
        assert answer.status == 401
        if not token:
            assert 'Bearer realm="home"' in answer.head.all("WWW-Authenticate"), answer.head.fields
    answer = GW.call("GET", "/realm", token=signed("never-there"))
    assert answer.status == 401 and 'Bearer realm="home"' in answer.head.all("WWW-Authenticate"), answer.head.fields


def test_secrets_may_stand_encoded():
    assert GW.call("GET", "/encoded", token=consumer_token("HS256", iss="encoded")).status == 200
    assert GW.call("GET", "/consumers", token=consumer_token("HS256", iss="encoded")).status == 401


def test_consumers_tokens_need_no_issuer():
    kong = json.loads(config())
    kong["services"][0]["routes"] = [{"name": "r", "paths": ["/"], "plugins": [{"name": "jwt", "config": {}}]}]
    kong["consumers"] = [{"username": "machine", "jwt_secrets": [{"key": "https://machines.test", "secret": SHARED}]}]
    gateway = Gateway(json.dumps(kong))
    try:
        head = fields_of(gateway.call("GET", "/", token=consumer_token("HS256", iss="https://machines.test")))
        assert head["x-user-id"] == "machine", head
        assert gateway.call("GET", "/", token=ISSUER.token()).status == 401
        kong["consumers"][0]["jwt_secrets"] = [{"key": "https://machines.test", "secret": SHARED[::-1]}]
        gateway.reload(json.dumps(kong))
        assert gateway.call("GET", "/", token=consumer_token("HS256", iss="https://machines.test")).status == 401
    finally:
        gateway.stop()


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
