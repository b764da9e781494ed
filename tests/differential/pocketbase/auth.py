"""Auth collections: signing in, tokens, passwords, mails asked for, second factors."""
import base64
import hashlib
import hmac
import json
import time

PASSWORD = "1234567890"
BASE = "/api/collections/clients"


def run(pair):
    root = "root"
    pair.post("/api/collections", {"name": "clients", "type": "auth", "createRule": "", "updateRule": "id = @request.auth.id", "viewRule": "id = @request.auth.id", "listRule": "", "deleteRule": "id = @request.auth.id",
                                   "fields": [{"name": "name", "type": "text"}]}, root)
    creations(pair)
    sign_in(pair)
    own_changes(pair)
    by_mail(pair)
    factors(pair, root)
    others(pair, root)
    known_secrets(pair, root)


def creations(pair):
    path, ok = BASE + "/records", {"password": PASSWORD, "passwordConfirm": PASSWORD}
    for i, body in enumerate(({}, {"email": "a@example.com"}, {"email": "a@example.com", "password": "short", "passwordConfirm": "short"}, {"email": "a@example.com", "password": PASSWORD},
                              {"email": "a@example.com", "password": PASSWORD, "passwordConfirm": "other"}, {"email": "nope", **ok}, {"email": "", **ok}, {"email": "a@example.com", **ok}, {"email": "A@example.com", **ok},
                              {"email": "b@example.com", "verified": True, **ok}, {"email": "b@example.com", "tokenKey": "x" * 50, **ok}, {"email": "b@example.com", "emailVisibility": True, **ok},
                              {"email": "long@example.com", "password": "x" * 72, "passwordConfirm": "x" * 72}, {"email": "long2@example.com", "password": "x" * 73, "passwordConfirm": "x" * 73})):
        pair.post(path, {"id": f"client000000{i:03d}", **body})


def sign_in(pair):
    path = BASE + "/auth-with-password"
    for body in ({}, {"identity": "a@example.com"}, {"identity": "a@example.com", "password": "wrong"}, {"identity": "nobody@example.com", "password": PASSWORD}, {"identity": "a@example.com", "password": PASSWORD},
                 {"identity": "a@example.com", "password": PASSWORD, "identityField": "email"}, {"identity": "a@example.com", "password": PASSWORD, "identityField": "name"}, {"identity": "", "password": ""},
                 {"identity": 5, "password": 5}, {"identity": "A@EXAMPLE.COM", "password": PASSWORD}):
        pair.post(path, body)
    pair.token("a", pair.post(path, {"identity": "a@example.com", "password": PASSWORD}))
    pair.token("b", pair.post(path, {"identity": "b@example.com", "password": PASSWORD}))
    for who in (None, "a", "root"):
        pair.post(BASE + "/auth-refresh", None, who)
        pair.get(BASE + "/auth-methods", who)
    pair.get("/api/collections/_superusers/auth-methods")
    pair.get("/api/collections/_superusers/records")
    pair.get("/api/collections/_superusers/records", "a")
    pair.post("/api/collections/nothere/auth-with-password", {})
    pair.post("/api/collections/_superusers/auth-refresh", None, "a")
    for side in (pair.theirs, pair.ours):
        side.tokens.update(bad="nonsense", cut=side.tokens["a"][:-2], bearer="Bearer " + side.tokens["a"])
    for who in ("bad", "cut", "bearer"):
        pair.get(BASE + "/records?sort=id", who)
        pair.post(BASE + "/auth-refresh", None, who)


def own_changes(pair):
    one = BASE + "/records/client000000007"
    for who in (None, "b", "a"):
        pair.get(one, who)
        for body in ({"name": "x"}, {"password": "new1234567", "passwordConfirm": "new1234567"}, {"password": "new1234567", "passwordConfirm": "new1234567", "oldPassword": "wrong"},
                     {"email": "else@example.com"}, {"verified": True}, {"emailVisibility": True}, {"tokenKey": "y" * 50}):
            pair.patch(one, body, who)
    pair.patch(one, {"password": "new1234567", "passwordConfirm": "new1234567", "oldPassword": PASSWORD}, "a")
    pair.get(one, "a")
    pair.post(BASE + "/auth-refresh", None, "a")
    pair.token("a", pair.post(BASE + "/auth-with-password", {"identity": "a@example.com", "password": "new1234567"}))
    pair.get(one, "a")


def by_mail(pair):
    for name, body in (("request-password-reset", "email"), ("request-verification", "email"), ("request-otp", "email")):
        for value in ({}, {body: ""}, {body: "nope"}, {body: "nobody@example.com"}, {body: "a@example.com"}):
            pair.post(f"{BASE}/{name}", value)
    for who in (None, "a", "root"):
        for value in ({}, {"newEmail": "nope"}, {"newEmail": "b@example.com"}, {"newEmail": "new@example.com"}):
            pair.post(BASE + "/request-email-change", value, who)
    for name, bodies in (("confirm-password-reset", ({}, {"token": "x", "password": PASSWORD, "passwordConfirm": PASSWORD}, {"token": "x", "password": "a", "passwordConfirm": "b"})),
                         ("confirm-verification", ({}, {"token": "x"})), ("confirm-email-change", ({}, {"token": "x", "password": PASSWORD}))):
        for body in bodies:
            pair.post(f"{BASE}/{name}", body)


def factors(pair, root):
    pair.patch("/api/collections/clients", {"otp": {"enabled": True}, "mfa": {"enabled": True}}, root)
    pair.get(BASE + "/auth-methods")
    for body in ({}, {"email": "a@example.com"}, {"email": "nobody@example.com"}):
        pair.post(BASE + "/request-otp", body)
    for body in ({}, {"otpId": "x", "password": "1"}, {"otpId": "x" * 15, "password": "12345678"}):
        pair.post(BASE + "/auth-with-otp", body)
    pair.post(BASE + "/auth-with-password", {"identity": "a@example.com", "password": "new1234567"})
    pair.post(BASE + "/auth-with-password", {"identity": "a@example.com", "password": "new1234567", "mfaId": "nothere"})
    pair.patch("/api/collections/clients", {"otp": {"enabled": False}, "mfa": {"enabled": False}, "passwordAuth": {"enabled": False}}, root)
    pair.post(BASE + "/auth-with-password", {"identity": "a@example.com", "password": "new1234567"})
    pair.post(BASE + "/request-otp", {"email": "a@example.com"})
    pair.patch("/api/collections/clients", {"passwordAuth": {"enabled": True}, "authRule": "verified = true"}, root)
    pair.post(BASE + "/auth-with-password", {"identity": "a@example.com", "password": "new1234567"})
    pair.patch("/api/collections/clients", {"authRule": None}, root)
    pair.post(BASE + "/auth-with-password", {"identity": "a@example.com", "password": "new1234567"})
    pair.patch("/api/collections/clients", {"authRule": ""}, root)


def others(pair, root):
    for who in (None, "a", root):
        pair.post(BASE + "/impersonate/client000000007", {"duration": 60}, who)
        pair.post(BASE + "/impersonate/nothere00000000", {}, who)
        pair.post("/api/files/token", None, who)
    pair.token("acting", pair.post(BASE + "/impersonate/client000000007", {"duration": 60}, root))
    pair.get(BASE + "/records/client000000007", "acting")
    pair.post(BASE + "/auth-refresh", None, "acting")
    for body in ({}, {"provider": "nothere", "code": "x", "redirectURL": "http://x"}, {"provider": "google"}):
        pair.post(BASE + "/auth-with-oauth2", body)
    pair.delete(BASE + "/records/client000000007", "b")
    pair.delete(BASE + "/records/client000000007", "a")
    pair.get(BASE + "/records?sort=id", "a")
    pair.post(BASE + "/auth-refresh", None, "a")


SECRET, KEY = "s" * 40, "k" * 50
KINDS = {"auth": "authToken", "file": "fileToken", "verification": "verificationToken", "passwordReset": "passwordResetToken", "emailChange": "emailChangeToken"}


def forged(kind, record, life=600, key=KEY + SECRET, **claims):
    """A token that both servers take for their own, since both have these secrets."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    body = {"type": kind, "id": record, "exp": int(time.time()) + life, **claims}
    text = part({"alg": "HS256", "typ": "JWT"}) + "." + part(body)
    mac = hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
    return text + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def known_secrets(pair, root):
    """What the links of mails do, and tokens that are nearly good."""
    pair.post("/api/collections", {"name": "people", "type": "auth", "listRule": "", "viewRule": "", "updateRule": "id = @request.auth.id", "manageRule": "@request.auth.nick = 'boss'", "createRule": "",
                                   "fields": [{"name": "nick", "type": "text"}, {"name": "friend", "type": "relation", "collectionId": "_pb_users_auth_", "maxSelect": 1}],
                                   "indexes": ["CREATE UNIQUE INDEX people_nick ON people (nick COLLATE NOCASE) WHERE nick != ''"],
                                   "passwordAuth": {"enabled": True, "identityFields": ["nick", "email"]}}, root)
    pair.patch("/api/collections/people", {name: {"secret": SECRET, "duration": 600} for name in KINDS.values()}, root)
    one, two = "people000000001", "people000000002"
    for n, nick in ((one, "Ann"), (two, "boss")):
        pair.post("/api/collections/people/records", {"id": n, "email": f"{nick}@example.com", "nick": nick, "password": PASSWORD, "passwordConfirm": PASSWORD}, root)
    key(pair, one, root)
    ways_in(pair)
    mine = pair.theirs.call("GET", "/api/collections/people", None, root).body["id"]
    nearly_good(pair, one, mine)
    links(pair, one, mine, root)
    managed(pair, one, two, root)
    for who in (None, "ann", root):
        for body in ({}, {"email": "x"}, {"email": "x@example.com", "template": "x"}, {"email": "x@example.com", "template": "otp", "collection": "x"}, {"email": 5}):
            pair.post("/api/settings/test/email", body, who)


def key(pair, one, root):
    pair.patch(f"/api/collections/people/records/{one}", {"tokenKey": KEY}, root)


def ways_in(pair):
    path = "/api/collections/people/auth-with-password"
    for identity in ("Ann", "ann", "ANN@example.com", "Ann@example.com", "nobody", "a b"):
        pair.post(path, {"identity": identity, "password": PASSWORD})
        pair.post(path, {"identity": identity, "password": PASSWORD, "identityField": "nick"})
    for query in ("?fields=token", "?fields=record.id,record.nick", "?fields=record.*", "?expand=friend", "?fields=nothing"):
        pair.post(path + query, {"identity": "Ann", "password": PASSWORD})
    pair.post(path, {"identity": "Ann", "password": "x" * 256})
    pair.post(path, {"identity": "x" * 256, "password": PASSWORD})
    pair.post(path, {"identity": None, "password": PASSWORD})
    pair.post(path, [])
    pair.post(path, "x")


def nearly_good(pair, one, mine):
    tokens = {"good": forged("auth", one, collectionId=mine, refreshable=True), "static": forged("auth", one, collectionId=mine, refreshable=False), "bare": forged("auth", one, collectionId=mine),
              "old": forged("auth", one, -1, collectionId=mine), "kind": forged("file", one, collectionId=mine), "nobody": forged("auth", "nobody000000000", collectionId=mine),
              "elsewhere": forged("auth", one, collectionId="_pb_users_auth_"), "nowhere": forged("auth", one, collectionId="x"), "foreign": forged("auth", one, key="x" * 90, collectionId=mine)}
    for side in (pair.theirs, pair.ours):
        side.tokens.update(tokens)
    for name in tokens:
        pair.post("/api/collections/people/auth-refresh", None, name)
        pair.post("/api/files/token", None, name)


def links(pair, one, mine, root):
    base, email, new = "/api/collections/people", "Ann@example.com", {"password": "new" + PASSWORD, "passwordConfirm": "new" + PASSWORD}

    def of(kind, **claims):
        return forged(kind, one, collectionId=mine, **claims)
    for body in ({"token": of("auth", email=email)}, {"token": of("verification")}, {"token": of("verification", email="other@example.com")}, {"token": of("verification", email=email, life=-1)}, {"token": 5}):
        pair.post(base + "/confirm-verification", body)
    pair.post("/api/collections/users/confirm-verification", {"token": of("verification", email=email)})
    pair.post("/api/collections/_superusers/confirm-verification", {"token": of("verification", email=email)})
    pair.post(base + "/confirm-verification", {"token": of("verification", email=email)})
    pair.post(base + "/confirm-verification", {"token": of("verification", email=email)})
    pair.get(f"{base}/records/{one}", root)
    for newer in ({"newEmail": "boss@example.com"}, {"newEmail": ""}, {}, {"newEmail": "ann2@example.com"}):
        for word in ("wrong", "", PASSWORD):
            pair.post(base + "/confirm-email-change", {"token": of("emailChange", email=email, **newer), "password": word})
    key(pair, one, root)
    pair.post("/api/collections/users/confirm-email-change", {"token": of("emailChange", email=email, newEmail="ann3@example.com"), "password": PASSWORD})
    for body in ({"password": "short", "passwordConfirm": "short"}, {"password": "x" * 72, "passwordConfirm": "x" * 72}, {**new, "passwordConfirm": ""}, new, new):
        pair.post(base + "/confirm-password-reset", {"token": of("passwordReset", email=email), **body})
    pair.post(base + "/auth-with-password", {"identity": "Ann", "password": PASSWORD})
    pair.post(base + "/auth-with-password", {"identity": "Ann", "password": "new" + PASSWORD})
    pair.get(f"{base}/records/{one}", root)


def managed(pair, one, two, root):
    base = "/api/collections/people"
    pair.token("boss", pair.post(base + "/auth-with-password", {"identity": "boss", "password": PASSWORD}))
    pair.token("ann", pair.post(base + "/auth-with-password", {"identity": "Ann", "password": "new" + PASSWORD}))
    pair.get(base + "/records?sort=id&expand=friend", "boss")
    pair.get(f"{base}/records/{one}?expand=friend", "ann")
    pair.get(base + "/records?sort=id", "ann")
    pair.patch(f"{base}/records/{two}", {"email": "boss2@example.com", "verified": True}, "boss")
    pair.patch(f"{base}/records/{one}", {"email": "ann4@example.com"}, "ann")
    pair.token("boss", pair.post(base + "/auth-with-password", {"identity": "boss", "password": PASSWORD}))
    for duration in ({}, {"duration": -1}, {"duration": "x"}, {"duration": 30}, {"duration": 1.5}):
        pair.post(f"{base}/impersonate/{one}", duration, root)
    pair.post(f"/api/collections/clients/impersonate/{one}", {}, root)
    pair.post(f"/api/collections/nothere/impersonate/{one}", {}, root)
    pair.patch("/api/collections/people", {"authRule": "nick = 'boss'"}, root)
    for nick, word in (("Ann", "new" + PASSWORD), ("boss", PASSWORD)):
        pair.post(base + "/auth-with-password", {"identity": nick, "password": word})
    pair.post(base + "/auth-refresh", None, "boss")
    pair.post(f"{base}/impersonate/{one}", {"duration": 30}, root)
