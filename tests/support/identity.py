"""Gateway proofs and service tokens, computed with the standard library alone: what the services must believe, and what not.

The root secret comes from KOMBI_SERVICE_SECRET or KOMBI_SERVICE_SECRET_FILE."""
import base64
import hashlib
import hmac
import json
import os
import time
import uuid

FIELDS = ("X-User-ID", "X-User-Email", "X-User-Name", "X-Org-ID", "X-User-Roles", "X-Subscription-Plan", "X-Tenant-ID")


def root_secret():
    path = os.environ.get("KOMBI_SERVICE_SECRET_FILE")
    if not path:
        return os.environ["KOMBI_SERVICE_SECRET"].encode()
    with open(path, "rb") as file:
        return file.read().removesuffix(b"\n")


def pair_key(caller, callee, root=None):
    """HKDF-SHA256 (RFC 5869) without salt, one block."""
    prk = hmac.new(bytes(32), root or root_secret(), "sha256").digest()
    return hmac.new(prk, f"kombi pair v1 {caller} {callee}".encode() + b"\1", "sha256").digest()


def key_id(key):
    return hashlib.sha256(key).hexdigest()[:8]


def proof_of(values, method, callee, at=None, key=None):
    """The value of X-Kombi-Proof for these identity headers."""
    key = key or pair_key("gateway", callee)
    at = int(time.time()) if at is None else at
    text = f"kombi-proof-v1\n{at}\n{method}\n{callee}\n" + "".join(values.get(field, "") + "\n" for field in FIELDS)
    return f"t={at},k={key_id(key)},v1={hmac.new(key, text.encode(), 'sha256').hexdigest()}"


def identity(user, org="", plan="free", roles="", **more):
    """Identity headers; tenant=, email=, name= add the others."""
    values = {"X-User-ID": user, "X-Org-ID": org, "X-Subscription-Plan": plan, "X-User-Roles": roles,
              "X-Tenant-ID": more.get("tenant", ""), "X-User-Email": more.get("email", ""), "X-User-Name": more.get("name", "")}
    return {name: value for name, value in values.items() if value}


def proven(values, method, callee, **how):
    return {**values, "X-Kombi-Proof": proof_of(values, method, callee, **how)}


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def service_token(caller, callee, key=None, header=None, **claims):
    """HS256 under the key of the pair; claims (None: left out) and header members replace the good ones."""
    key, now = key or pair_key(caller, callee), int(time.time())
    head = {"alg": "HS256", "typ": "JWT", "kid": key_id(key), **(header or {})}
    body = {"iss": caller, "aud": callee, "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    text = base64url(json.dumps(head).encode()) + "." + base64url(json.dumps(body).encode())
    return text + "." + base64url(hmac.new(key, text.encode(), "sha256").digest())


def bearer(caller, callee, **how):
    return {"Authorization": f"Bearer {service_token(caller, callee, **how)}"}


def read_token(authorization, caller, callee):
    """The claims of a service token, or an AssertionError that says what is wrong with it."""
    scheme, _, token = (authorization or "").partition(" ")
    assert scheme == "Bearer" and token.count(".") == 2, f"no bearer token: {authorization!r}"
    signed, _, signature = token.rpartition(".")
    key = pair_key(caller, callee)
    head, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in signed.split("."))
    assert head.get("alg") == "HS256" and head.get("kid") == key_id(key), f"another key: {head}"
    assert hmac.compare_digest(signature, base64url(hmac.new(key, signed.encode(), "sha256").digest())), "a false signature"
    now = time.time()
    assert claims["iss"] == caller and claims["aud"] == callee, f"for somebody else: {claims}"
    assert claims["iat"] - 5 <= now <= claims["exp"] <= claims["iat"] + 60, f"not of now: {claims}"
    return claims
