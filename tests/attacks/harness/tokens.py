"""Keys, tokens and proofs: the personas' bearer tokens, the tokens of the JWT
corpus, service tokens and gateway proofs made as identity.h describes."""

import hashlib
import hmac
import json
import pathlib
import sys
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ATTACKS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ATTACKS / "tools"))
import jwt_build  # noqa: E402
import jwt_corpus  # noqa: E402

ISSUER = "https://auth.kombisphere.io"
AUDIENCE = "kombisphere-api"
ORG = "urn:zitadel:iam:org:id"
ROLES = "urn:zitadel:iam:org:project:roles"
IDENTITY = ("X-User-ID", "X-User-Email", "X-User-Name", "X-Org-ID", "X-User-Roles", "X-Subscription-Plan", "X-Tenant-ID")

# name: (sub, e-mail, name, organisation, roles, plan)
PERSONAS = {
    "user_a": ("user-a1", "a1@example.com", "A One", "org_a", ("user", "subscriber_pro"), "pro"),
    "user_b": ("user-b1", "b1@example.com", "B One", "org_b", ("user", "subscriber_pro"), "pro"),
    "admin": ("admin-1", "admin@example.com", "Operator", "org_platform", ("kombisphere_admin",), "enterprise"),
}


def cases_of(corpus):
    with open(ATTACKS / f"{corpus}.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Keys:
    """The issuer's keys and the platform's service secret, new for each run."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        jwt_build.mk(str(self.folder / "keys"))
        self.keys = jwt_build.load(str(self.folder / "keys"))
        self.jwks = (self.folder / "keys/jwks.json").read_bytes()
        jwt_build.BASE = cases_of("jwt_cases")[0]["claims"]
        self.secret_file = self.folder / "secret"
        self.secret_file.write_text(self.keys["svc"].hex())
        self.secret_file.chmod(0o600)

    def token(self, persona):
        sub, email, name, org, roles, plan = PERSONAS[persona]
        claims = {"iss": ISSUER, "sub": sub, "aud": [AUDIENCE], "iat": "$now", "exp": "$now+1800", "email": email,
                  "name": name, ORG: org, ROLES: {role: {} for role in roles}, "plan": plan}
        return self.signed({"alg": "RS256", "typ": "JWT", "kid": "k-rsa-1"}, claims, "rsa")

    def signed(self, header, claims, key, alg="RS256"):
        return self.build({"header": header, "claims": claims, "sign": {"alg": alg, "key": key}})

    def build(self, case):
        return jwt_build.build(case, self.keys, int(time.time()))

    def bearer(self, persona):
        return [] if persona == "anon" else [("Authorization", f"Bearer {self.token(persona)}")]

    # ---- between services ----------------------------------------------------

    def pair_key(self, caller, callee):
        """(key id, key) of a pair of services."""
        info = f"kombi pair v1 {caller} {callee}".encode()
        key = HKDF(hashes.SHA256(), 32, None, info).derive(self.secret_file.read_bytes())
        return hashlib.sha256(key).hexdigest()[:8], key

    def proof(self, method, callee, identity):
        """X-Kombi-Proof for {header name: value}."""
        kid, key = self.pair_key("gateway", callee)
        now = str(int(time.time()))
        lines = ["kombi-proof-v1", now, method, callee, *(identity.get(name, "") for name in IDENTITY)]
        mac = hmac.new(key, "".join(line + "\n" for line in lines).encode(), "sha256").hexdigest()
        return f"t={now},k={kid},v1={mac}"

    def proven(self, method, callee, persona, tenant):
        """Headers that the gateway would send for a persona."""
        sub, email, name, org, roles, plan = PERSONAS[persona]
        values = (sub, email.replace("@", "%40"), name.replace(" ", "%20"), org, ",".join(sorted(roles)), plan, tenant)
        identity = dict(zip(IDENTITY, values))
        return [*identity.items(), ("X-Kombi-Proof", self.proof(method, callee, identity))]
