#!/usr/bin/env python3
"""Signing in to a tenant's own collections on a shared instance: passwords, mails, one-time passwords, two factors,
other providers, acting as another one, tokens of all kinds, and who may not.

Run by: tests/support/captive stack $PWD/tests/http/stack_auth.py
"""
# captive-env: KOMBI_TRUSTED_PROXIES=127.0.0.1,10.0.0.0/8
import json
import os
import pathlib
import sqlite3
import sys
import urllib.request

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "fakes")]

from mailbox import Mailbox, code, text, token  # noqa: E402

from oidc import Oidc  # noqa: E402
from smtp import Smtp  # noqa: E402
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import until  # noqa: E402

PASSWORD = "correct horse"
tally, world, mails = Tally(), StackWorld(), Mailbox()
world.tenant("acme", "enterprise")
ADMIN = world.enter("ada", "acme")["token"]
MEMBER = world.enter("ben", "acme")["token"]
API = "/tenant/acme/api"


def call(method, path, body=None, who=None, **headers):
    if who:
        headers["Authorization"] = who
    return world.wire.call(method, API + path, body, headers)


def people(path, body=None, who=None, **headers):
    return call("POST", "/collections/people" + path, body, who, **headers)


def expect(what, answer, status, message=None):
    body = answer.json() or {}
    good = answer.status == status and (message is None or body.get("message") == message)
    tally.check(what, good, answer)
    return body


def sign_in(email="ann@example.com", password=PASSWORD, **more):
    return people("/auth-with-password", {"identity": email, "password": password, **more})


def valid(who):
    return people("/auth-refresh", None, who).status == 200


def change(**options):
    return expect("the collection changes", call("PATCH", "/collections/people", options, ADMIN), 200)


def register(email, **more):
    return people("/records", {"email": email, "password": PASSWORD, "passwordConfirm": PASSWORD, **more})


def passwords():
    ann = expect("anybody registers where the rule says so", register("ann@example.com"), 200)
    tally.check("no secret is told", not {"password", "tokenKey", "email"} & set(ann), ann)
    expect("an address has one record", register("ann@example.com"), 400)
    expect("nobody verifies himself", register("eve@example.com", verified=True), 400)
    expect("a wrong password", sign_in(password="wrong horse"), 400, "Failed to authenticate.")
    expect("an unknown address", sign_in("nobody@example.com"), 400, "Failed to authenticate.")
    first = expect("the right one", sign_in(), 200)
    tally.check("one sees one's own address", first["record"]["email"] == "ann@example.com", first)
    tally.check("the token is good", valid(first["token"]))
    tally.check("also as Bearer", valid("Bearer " + first["token"]))
    tally.check("and is none of the platform's",
                world.wire.call("GET", "/tenant/acme/v1/tenant", None, {"Authorization": first["token"]}).status == 401)
    one = f"/collections/people/records/{ann['id']}"
    new = {"password": "another horse", "passwordConfirm": "another horse"}
    expect("a new password needs the old one", call("PATCH", one, new, first["token"]), 400)
    expect("the right old one", call("PATCH", one, new | {"oldPassword": "wrong horse"}, first["token"]), 400)
    expect("is asked for", call("PATCH", one, new | {"oldPassword": PASSWORD}, first["token"]), 200)
    tally.check("a new password ends tokens", not valid(first["token"]))
    expect("and the old password", sign_in(), 400)
    second = expect("the new one signs in", sign_in(password="another horse"), 200)
    expect("an address is changed by mail alone", call("PATCH", one, {"email": "x@example.com"}, second["token"]), 400)
    expect("an admin sets another one", call("PATCH", one, {"password": PASSWORD, "passwordConfirm": PASSWORD}, ADMIN), 200)
    tally.check("which ends tokens too", not valid(second["token"]))
    return ann["id"]


def by_mail():
    expect("a mail to verify", people("/request-verification", {"email": "ann@example.com"}), 204)
    expect("nobody learns who is there", people("/request-verification", {"email": "nobody@example.com"}), 204)
    mail = mails.next("verification")
    tally.check("goes to the address", mail["To"] == "ann@example.com", mail["To"])
    verify = token(mail)
    expect("is no token for a password", people("/confirm-password-reset", {"token": verify, "password": PASSWORD, "passwordConfirm": PASSWORD}), 400)
    expect("is no token to sign in with", people("/auth-refresh", None, verify), 401)
    expect("another one comes after two minutes", people("/request-verification", {"email": "ann@example.com"}), 204)
    expect("it verifies", people("/confirm-verification", {"token": verify}), 204)
    mine = expect("as is told", sign_in(), 200)
    tally.check("verified", mine["record"]["verified"], mine)
    tally.check("no second mail", not mails.fresh())

    expect("a forgotten password", people("/request-password-reset", {"email": "ann@example.com"}), 204)
    reset = token(mails.next("reset"))
    new = {"password": "fourth horse", "passwordConfirm": "fourth horse"}
    expect("both have to be the same", people("/confirm-password-reset", {"token": reset, **new, "passwordConfirm": "x"}), 400)
    expect("is set by mail", people("/confirm-password-reset", {"token": reset, **new}), 204)
    expect("once", people("/confirm-password-reset", {"token": reset, **new}), 400)
    tally.check("which ends tokens", not valid(mine["token"]))
    mine = expect("and is good", sign_in(password="fourth horse"), 200)

    expect("a new address", people("/request-email-change", {"newEmail": "anna@example.com"}, mine["token"]), 204)
    mail = mails.next("new address")
    tally.check("is asked whether it is one", mail["To"] == "anna@example.com", mail["To"])
    moved = {"token": token(mail), "password": "fourth horse"}
    expect("with the password", people("/confirm-email-change", moved | {"password": "wrong horse"}), 400)
    expect("it is taken", people("/confirm-email-change", moved), 204)
    tally.check("which ends tokens", not valid(mine["token"]))
    expect("the old one is nobody's", sign_in(password="fourth horse"), 400)
    expect("the new one is", sign_in("anna@example.com", "fourth horse"), 200)


def one_time():
    expect("not where it is off", people("/request-otp", {"email": "anna@example.com"}), 403)
    change(otp={"enabled": True})
    known = expect("an id", people("/request-otp", {"email": "anna@example.com"}), 200)["otpId"]
    unknown = expect("for everybody", people("/request-otp", {"email": "nobody@example.com"}), 200)["otpId"]
    tally.check("looks alike", len(known) == len(unknown) == 15)
    word = code(mails.next("one-time password"))
    expect("nobody's is none", people("/auth-with-otp", {"otpId": unknown, "password": word}), 400)
    expect("a wrong one", people("/auth-with-otp", {"otpId": known, "password": "00000000"}), 400, "Invalid or expired OTP.")
    expect("the right one", people("/auth-with-otp", {"otpId": known, "password": word}), 200)
    expect("once", people("/auth-with-otp", {"otpId": known, "password": word}), 400)
    other = expect("another one", people("/request-otp", {"email": "anna@example.com"}), 200)["otpId"]
    seen = [people("/auth-with-otp", {"otpId": other, "password": "00000000"}).status for _ in range(6)]
    tally.check("five guesses", 429 in seen and seen[0] == 400, seen)
    word = code(mails.next("one-time password"))
    expect("and then no more", people("/auth-with-otp", {"otpId": other, "password": word}), 429)


def two_factors():
    expect("another person", register("bob@example.com"), 200)
    change(mfa={"enabled": True})
    first = expect("one factor", sign_in("bob@example.com"), 401)
    tally.check("is told as half", list(first) == ["mfaId"], first)
    expect("the same again", sign_in("bob@example.com", mfaId=first["mfaId"]), 400, "A different authentication method is required.")
    other = expect("another one's", people("/request-otp", {"email": "bob@example.com"}), 200)["otpId"]
    second = {"otpId": other, "password": code(mails.next("second factor"))}
    expect("the second one", people("/auth-with-otp", second | {"mfaId": first["mfaId"]}), 200)
    expect("is used up", sign_in("bob@example.com", mfaId=first["mfaId"]), 400)
    change(mfa={"enabled": False})


def providers():
    fake = Oidc()
    expect("not where it is off", people("/auth-with-oauth2", {"provider": "oidc"}), 403)
    change(oauth2={"enabled": True, "providers": [fake.provider()], "mappedFields": {"name": "name"}})
    methods = call("GET", "/collections/people/auth-methods").json()["oauth2"]["providers"][0]
    tally.check("the address to go to", methods["authURL"].endswith("&redirect_uri=") and methods["codeChallengeMethod"] == "S256", methods)

    def enter(who, session=None, **more):
        return people("/auth-with-oauth2", {"provider": "oidc", "code": who, "codeVerifier": "v" * 43, "redirectURL": "http://localhost/back", **more}, session)

    fake.people["cat"] = {"sub": "1", "email": "cat@example.com", "email_verified": True, "name": "Cat"}
    made = expect("somebody new", enter("cat"), 200)
    tally.check("is made", made["meta"]["isNew"] and made["record"]["verified"] and made["record"]["name"] == "Cat", made)
    tally.check("the verifier went along", fake.asked[-1].get("code_verifier") == "v" * 43, fake.asked[-1])
    again = expect("comes again", enter("cat"), 200)
    tally.check("as the same", again["record"]["id"] == made["record"]["id"] and not again["meta"]["isNew"], again)
    expect("a bad code", enter("nothing"), 400, "Failed to fetch OAuth2 token.")
    tally.check("no secret is told", "secret&more" not in call("GET", "/collections/people", None, ADMIN).body.decode())

    # Somebody waits with the address of another one.
    trap = expect("a trap", register("dan@example.com"), 200)
    waiting = expect("that is signed in", sign_in("dan@example.com"), 200)["token"]
    fake.people["mallory"] = {"sub": "666", "email": "m@example.com", "email_verified": True}
    expect("and has a link of its own", enter("mallory", waiting), 200)
    fake.people["maybe"] = {"sub": "7", "email": "dan@example.com", "email_verified": False}
    expect("an address that is not verified finds nobody", enter("maybe"), 400)
    fake.people["dan"] = {"sub": "8", "email": "dan@example.com", "email_verified": True}
    dan = expect("the owner comes", enter("dan"), 200)
    tally.check("and gets it", dan["record"]["id"] == trap["id"] and dan["record"]["verified"], dan)
    tally.check("the trap's token is dead", not valid(waiting))
    expect("its password too", sign_in("dan@example.com"), 400)
    out = expect("and its link", enter("mallory"), 200)
    tally.check("opens another record", out["record"]["id"] != trap["id"], out)


def new_places():
    change(authAlert={"enabled": True})
    expect("somebody who travels", register("tom@example.com"), 200)

    def enter(agent):
        return people("/auth-with-password", {"identity": "tom@example.com", "password": PASSWORD}, None, **{"User-Agent": agent})

    tom = expect("the first place", enter("one"), 200)
    expect("again", enter("one"), 200)
    tally.check("is no news", not mails.fresh())
    expect("another place", enter("two"), 200)
    tally.check("is told", "two" in text(mails.next("alert")))
    origins = call("GET", "/collections/_authOrigins/records", None, tom["token"]).json()
    tally.check("both are known", origins["totalItems"] == 2, origins)
    for agent in "345678":
        expect("more places", enter(agent), 200)
    told = []
    until(lambda: told.extend(mails.fresh()) or len(told) >= 6, "a mail for each")
    origins = call("GET", "/collections/_authOrigins/records", None, tom["token"]).json()
    tally.check("five are kept", origins["totalItems"] == 5, origins)
    one = f"/collections/people/records/{tom['record']['id']}"
    expect("a new password", call("PATCH", one, {"password": "x" * 9, "passwordConfirm": "x" * 9}, ADMIN), 200)
    origins = call("GET", "/collections/_authOrigins/records", None, ADMIN).json()
    tally.check("makes all places new", origins["totalItems"] == 0, origins)
    change(authAlert={"enabled": False})


def managers():
    change(manageRule='name = "managed" && @request.auth.name = "boss"')
    boss = expect("a manager", register("boss@example.com", name="boss"), 200)
    them = expect("who is managed", register("them@example.com", name="managed"), 200)
    others = expect("and who is not", register("others@example.com"), 200)
    who = expect("signs in", sign_in("boss@example.com"), 200)["token"]
    seen = {r["id"]: r.get("email") for r in call("GET", "/collections/people/records?perPage=100", None, who).json()["items"]}
    tally.check("sees the addresses of those", seen[them["id"]] == "them@example.com" and seen[others["id"]] is None and seen[boss["id"]], seen)
    change(updateRule="")
    expect("changes them", call("PATCH", f"/collections/people/records/{them['id']}", {"email": "moved@example.com", "verified": True, "password": "y" * 9, "passwordConfirm": "y" * 9}, who), 200)
    expect("but not others", call("PATCH", f"/collections/people/records/{others['id']}", {"verified": True}, who), 400)
    change(updateRule="id = @request.auth.id", manageRule=None)


def landing():
    for method, status in (("GET", 307), ("POST", 303)):
        answer = world.wire.call(method, API + "/oauth2-redirect?state=nobody&code=x")
        tally.check("a code for nobody is nobody's", answer.status == status and "failure" in answer.header("Location"), answer)
    with urllib.request.urlopen(os.environ["KOMBI_URL"] + API + "/realtime", timeout=20) as stream:
        client = stream.readline().decode().strip().removeprefix("id:")
        for _ in range(3):
            stream.readline()
        expect("a window waits", call("POST", "/realtime", {"clientId": client, "subscriptions": ["@oauth2"]}), 204)
        answer = world.wire.call("GET", f"{API}/oauth2-redirect?state={client}&code=abc%20d")
        tally.check("it gets the code", answer.status == 307 and "success" in answer.header("Location"), answer)
        lines = [stream.readline().decode().strip() for _ in range(3)]
        tally.check("as the SDK reads it", lines[1] == "event:@oauth2" and json.loads(lines[2][5:]) == {"state": client, "code": "abc d"}, lines)
        answer = world.wire.call("GET", f"{API}/oauth2-redirect?state={client}&code=again")
        tally.check("once", "failure" in answer.header("Location"), answer)
    page = world.wire.call("GET", "/tenant/acme/_/")
    tally.check("links of mails lead to a page", page.status == 200 and "script-src" in page.header("Content-Security-Policy") and len(page.all("Content-Security-Policy")) == 1, page)


def acting(ann):
    path = f"/impersonate/{ann}"
    expect("not by guests", people(path, {"duration": 60}), 401)
    expect("nor by members", people(path, {"duration": 60}, MEMBER), 403)
    body = expect("not without a reason", people(path, {"duration": 60}, ADMIN), 400)
    tally.check("which is named", "reason" in body["data"], body)
    acting_as = expect("with one", people(path, {"duration": 60, "reason": "ticket 7"}, ADMIN), 200)["token"]
    again = expect("it is good", people("/auth-refresh", None, acting_as), 200)
    tally.check("but not for longer", again["token"] == acting_as)
    expect("or in a header", people(path, {}, ADMIN, **{"X-Kombi-Reason": "ticket 8"}), 200)
    db = sqlite3.connect(os.path.join(os.environ["KOMBI_DATA_DIR"], "platform.db"), timeout=10)
    rows = db.execute("SELECT tenant, resource_id, details FROM _audit_logs WHERE action = 'auth.impersonate' ORDER BY at, id").fetchall()
    db.close()
    tally.check("both are in the audit log", [r[:2] for r in rows] == [("acme", ann)] * 2 and "ticket 7" in rows[0][2] and "ticket 8" in rows[1][2], rows)


def platform():
    body = {"email": "x@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
    expect("the rule of users opens", call("PATCH", "/collections/users", {"createRule": ""}, ADMIN), 200)
    expect("but nobody registers on a shared instance", call("POST", "/collections/users/records", body), 403)
    expect("nor does a member register others", call("POST", "/collections/users/records", body, MEMBER), 403)
    expect("a superuser", call("POST", "/collections/_superusers/records", body, ADMIN), 200)
    root = expect("signs in", call("POST", "/collections/_superusers/auth-with-password", {"identity": "x@example.com", "password": PASSWORD}), 200)["token"]
    expect("and may", call("GET", "/collections", None, root), 200)
    tally.check("but not on the platform", world.wire.call("GET", "/tenant/acme/v1/tenant", None, {"Authorization": root}).status == 401)
    mails.fresh()
    change_users = {"otp": {"enabled": True}}
    expect("members too could have one-time passwords", call("PATCH", "/collections/users", change_users, ADMIN), 200)
    for way in ("request-otp", "request-password-reset"):
        answer = call("POST", f"/collections/users/{way}", {"email": "ben@example.com"})
        tally.check("but who comes through the identity provider gets no second way in", answer.status in (200, 204), answer)
    expect("a mail to somebody else", people("/request-otp", {"email": "bob@example.com"}), 200)
    tally.check("is the only one", mails.next("bob")["To"] == "bob@example.com" and not mails.fresh())
    world.tenant("other", "enterprise")
    world.enter("eve", "other")
    tally.check("nor in another tenant", world.wire.call("GET", "/tenant/other/api/collections", None, {"Authorization": root}).status == 401)
    files = expect("a token for files", call("POST", "/files/token", None, root), 200)["token"]
    expect("opens nothing else", call("GET", "/collections", None, files), 401)


def guesses():
    expect("somebody to be guessed", register("guess@example.com"), 200)
    seen = [sign_in("guess@example.com", f"wrong {i}").status for i in range(25)]
    tally.check("guesses end", seen[0] == 400 and seen[-1] == 429, seen)
    expect("for others they do not", sign_in("bob@example.com"), 200)
    other = people("/auth-with-password", {"identity": "guess@example.com", "password": PASSWORD}, None, **{"X-Real-IP": "192.0.2.7"})
    expect("nor from elsewhere", other, 200)


def by_smtp():
    fake = Smtp()
    smtp = {"enabled": True, "host": "127.0.0.1", "port": fake.port, "username": "user", "password": "secret", "authMethod": "PLAIN", "tls": False}
    meta = {"appName": "Grüße\r\nBcc: all@example.com", "senderName": "Ärger, Inc.\r\nX-Bad: 1", "senderAddress": "no-reply@example.com", "appURL": "https://app.example.com"}
    expect("a server of one's own", call("PATCH", "/settings", {"smtp": smtp}, ADMIN), 200)
    call("PATCH", "/settings", {"meta": meta}, ADMIN)
    expect("a mail", people("/request-otp", {"email": "bob@example.com"}), 200)
    until(lambda: fake.mails, "a mail by SMTP")
    got = fake.mails[0]
    tally.check("by a signed-in client", got["user"] == "user", got["user"])
    tally.check("to one receiver", got["to"] == ["RCPT TO:<bob@example.com>"], got["to"])
    tally.check("no header is smuggled in", got["mail"]["Bcc"] is None and got["mail"]["X-Bad"] is None, got["raw"][:600])
    tally.check("text and HTML", [p.get_content_type() for p in got["mail"].iter_parts()] == ["text/plain", "text/html"])
    tally.check("the word is in it", code(got["mail"]) in text(got["mail"]))
    call("PATCH", "/settings", {"smtp": smtp | {"authMethod": "LOGIN"}}, ADMIN)
    mine = expect("bob", sign_in("bob@example.com"), 200)["token"]
    expect("the other way of signing in", people("/request-email-change", {"newEmail": "bobby@example.com"}, mine), 204)
    tally.check("works as well", fake.mails[-1]["user"] == "user" and fake.mails[-1]["to"] == ["RCPT TO:<bobby@example.com>"], fake.mails[-1]["to"])
    fake.refuses = True
    expect("a refusal is told", people("/request-email-change", {"newEmail": "bobby@example.com"}, mine), 400, "Failed to request email change.")
    fake.refuses = False
    call("PATCH", "/settings", {"smtp": smtp | {"password": "wrong"}}, ADMIN)
    expect("so is a bad password", people("/request-email-change", {"newEmail": "bobby@example.com"}, mine), 400)
    call("PATCH", "/settings", {"smtp": smtp | {"enabled": False}}, ADMIN)


expect("a collection to sign in to", call("POST", "/collections", {
    "name": "people", "type": "auth", "listRule": "", "viewRule": "id = @request.auth.id", "createRule": "",
    "updateRule": "id = @request.auth.id", "deleteRule": "id = @request.auth.id", "authAlert": {"enabled": False},
    "fields": [{"name": "name", "type": "text"}]}, ADMIN), 200)
ANN = passwords()
by_mail()
one_time()
two_factors()
providers()
new_places()
managers()
landing()
acting(ANN)
platform()
guesses()
by_smtp()
tally.end()
