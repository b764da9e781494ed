#!/usr/bin/env python3
"""The cases of jwt_cases.jsonl that are about the token itself, ready for a unit test.

usage: jwt_corpus.py jwt_cases.jsonl

Makes a key set in a temporary folder and prints one JSON object a line. The first is
{"jwks": good key set}; each other one {"id", "title", "token", "accept": "yes|no|either",
"jwks"?: key set to use instead, "then"?: key set that a refresh brings, "plan"?: expected
plan, "lacks"?: role that may not be held}. Key sets and tokens are base64url, since they
hold bytes that JSON cannot. Needs the Python package 'cryptography'."""
import base64, json, os, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import jwt_build as jb


def b64(data):
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def good_keys(K):
    return [jb.rsa_jwk(K["rsa"].public_key(), "k-rsa-1"), jb.ec_jwk(K["ec"].public_key(), "k-ec-1")]


def private_jwk(key, kid):
    numbers = key.private_numbers()
    return dict(jb.rsa_jwk(key.public_key(), kid), d=jb.ui(numbers.d), p=jb.ui(numbers.p), q=jb.ui(numbers.q))


def added(name, K):
    """Entries that stand beside the good keys."""
    if name == "oct":
        return dict(kty="oct", kid="k-oct-1", alg="HS256", use="sig", k=jb.u(K["oct"]))
    if name == "okp":
        return dict(kty="OKP", crv="Ed25519", kid="k-okp-1", use="sig", x=jb.u(b"\x07" * 32))
    if name == "rsa512":
        return dict(kty="RSA", kid="k-rsa-512", use="sig", alg="RS256", n=jb.ui((1 << 511) + 111), e="AQAB")
    if name == "nokid":
        return jb.rsa_jwk(K["rsa2"].public_key(), None)
    if name == "rsa_private_d":
        return private_jwk(K["rsa2"], "k-rsa-2")
    return jb.rsa_jwk(K[name].public_key(), {"rsa1024": "k-rsa-1024"}.get(name, "k-" + name))


def changed(spec, K):
    """The key set that the case's "jwks" member describes."""
    keys = good_keys(K)
    rsa, ec = keys
    n = K["rsa"].public_key().public_numbers().n
    rsa.update(spec.get("override", {}))
    if "override_n" in spec:
        rsa["n"] = jb.ui({"even": n - 1, "16384bit": (1 << 16383) + 12345}[spec["override_n"]])
    if "ec_override" in spec:
        point = K["ec"].public_key().public_numbers()
        ec.update({
            "off_curve": dict(y=jb.ui(point.y ^ 1, 32)),
            "zero": dict(x=jb.ui(0, 32), y=jb.ui(0, 32)),
            "short_x": dict(x=jb.ui(point.x >> 8, 31)),
        }[spec["ec_override"]])
    keys += [added(name, K) for name in spec.get("add", [])]
    if spec.get("duplicate_kid") == "attacker_first":
        keys.insert(0, jb.rsa_jwk(K["rsa_attacker"].public_key(), "k-rsa-1"))
    if "pad_keys" in spec:
        keys += [dict(rsa, kid="pad-%d" % i) for i in range(spec["pad_keys"])]
    if "rotate_to" in spec:
        keys = [jb.rsa_jwk(K[spec["rotate_to"]].public_key(), "k-rsa-2")]
    if "withdraw" in spec:
        keys = [k for k in keys if k["kid"] != spec["withdraw"]]
    return json.dumps({"keys": keys})


def body(name, K):
    text = json.dumps({"keys": good_keys(K)})
    return {"good": text, "html": "<html>no</html>", "empty": "", "truncated": text[:-20]}.get(name, name)


def about_the_token(case):
    return (case["group"] != "carrier" and "direct_to" not in case["request"]
            and case.get("carrier") == [["Authorization", "Bearer {token}"]]
            and not str(case.get("token_literal", "")).startswith("@@"))


def line(case, K, now):
    status = case["expect"]["status"]
    accept = "yes" if status == [200] else "either" if 200 in status else "no"
    out = dict(id=case["id"], title=case["title"], token=b64(jb.build(case, K, now)))
    checks = case["expect"].get("assert", {})
    if checks.get("x_ratelimit_limit"):
        out["plan"] = checks["x_ratelimit_limit"]
    if 403 in status:  # the token may be good, but never for this
        accept = "either"
        out["lacks"] = "tenant_admin" if "/tenants/" in case["request"]["path"] else "kombisphere_admin"
    out["accept"] = accept
    spec = case.get("jwks")
    if spec and "first_status" in spec:
        return None  # about HTTP
    if spec and "first" in spec:
        out["jwks"] = b64(body(spec["first"], K))
        if "then" in spec:
            out["then"] = b64(body(spec["then"], K))
        elif "then_status" in spec:
            return None
    elif spec:
        out["jwks"] = b64(changed(spec, K))
    return out


def main():
    cases = [json.loads(text) for text in open(sys.argv[1])]
    jb.BASE = cases[0]["claims"]
    with tempfile.TemporaryDirectory() as folder:
        jb.mk(folder)
        K = jb.load(folder)
    print(json.dumps({"jwks": b64(json.dumps({"keys": good_keys(K)}))}))
    for case in cases:
        out = line(case, K, int(time.time())) if about_the_token(case) else None
        if out:
            print(json.dumps(out))


if __name__ == "__main__":
    main()
