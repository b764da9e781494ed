"""Auth collections: signing in, tokens, passwords, mails asked for, second factors."""

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
