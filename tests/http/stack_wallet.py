#!/usr/bin/env python3
"""Secrets of a tenant: encrypted at rest, each bound to its place, told for a proof of fresh sign-in and a reason alone."""
# captive-env: STACKKITS_URL=http://127.0.0.1:9 TECHSTACK_ENCRYPTION_KEY=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402

tally, world = Tally(), StackWorld()
check = tally.check
ITEMS, REAUTH = "/v1/wallet/items", "/v1/wallet/reauth"
VALUE = "a-secret-that-stands-nowhere-Ω"


def ask(who, method, target, body=None, slug="home"):
    return world.ask(who, f"org-{slug}", method, target, body, tenant=slug)


def is_refused(what, answer, status, code):
    check(what, answer.status == status and answer.code == code, answer)


def reveal(who, item, proof, reason="to look", slug="home"):
    return ask(who, "POST", f"{ITEMS}/{item}/reveal", {"proof": proof, "reason": reason}, slug)


def stored(slug="home"):
    with sqlite3.connect(os.path.join(world.data, "tenants", slug, "data.db"), timeout=10) as db:
        rows = db.execute("SELECT id, ciphertext FROM _kombi_wallet ORDER BY id").fetchall()
    db.close()
    return dict(rows)


def everything_on_disk():
    for folder, _, names in os.walk(world.data):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                yield file.read()


def items_come_and_go_without_values():
    made = ask("owner", "POST", ITEMS, {"key": "db.password", "value": VALUE, "label": "Database", "metadata": {"host": "db"}})
    check("kept", made.status == 201 and made.data["metadata"] == {"host": "db"}, made)
    item = made.data["id"]
    is_refused("a key is there once", ask("owner", "POST", ITEMS, {"key": "db.password", "value": "x"}), 409, "CONFLICT")
    is_refused("of a stack that is there", ask("owner", "POST", ITEMS, {"key": "y", "value": "x", "stackId": "stk_none"}), 400, "VALIDATION_FAILED")
    listed = ask("owner", "GET", ITEMS)
    changed = ask("owner", "PATCH", f"{ITEMS}/{item}", {"label": "New"})
    for answer in (made, listed, changed):
        check("no answer has the value", VALUE not in answer.body.decode() and "enc:v1" not in answer.body.decode(), answer)
        check("nor is it kept on the way", answer.header("Cache-Control") == "no-store", answer)
    check("its form", stored()[item].startswith("enc:v1:"), stored())
    check("it stands nowhere on the disk", all(VALUE.encode() not in data for data in everything_on_disk()))
    return item


def a_value_is_told_for_a_proof(item):
    is_refused("not for a made-up proof", reveal("owner", item, "9999999999.AAAA"), 403, "AUTH_INSUFFICIENT")
    proof = ask("owner", "POST", REAUTH, {}).data["proof"]
    told = reveal("owner", item, proof, "rotation of keys")
    check("told", told.status == 200 and told.data["value"] == VALUE and told.header("Cache-Control") == "no-store", told)
    is_refused("a member has his own ones alone", reveal("member", item, proof), 404, "NOT_FOUND")
    mine = ask("member", "POST", ITEMS, {"key": "mine", "value": "my own"}).data["id"]
    is_refused("a proof is its owner's", reveal("member", mine, proof), 403, "AUTH_INSUFFICIENT")
    until, _, mac = proof.partition(".")
    is_refused("and for its time", reveal("owner", item, f"{int(until) + 60}.{mac}"), 403, "AUTH_INSUFFICIENT")
    is_refused("a reason is needed", ask("owner", "POST", f"{ITEMS}/{item}/reveal", {"proof": proof}), 400, "VALIDATION_FAILED")
    seen = ask("owner", "GET", "/v1/tenant/audit?action=wallet.revealed").data["items"]
    check("audited once, with the reason", [(row["resourceId"], row["details"]) for row in seen] == [(item, {"reason": "rotation of keys"})], seen)
    is_refused("viewers see none of it", ask("viewer", "GET", ITEMS), 403, "AUTH_INSUFFICIENT")


def an_old_sign_in_is_no_proof():
    with sqlite3.connect(os.path.join(world.data, "platform.db"), timeout=10) as db:
        db.execute("UPDATE _sso_mappings SET last_login = '2020-01-01T00:00:00.000Z' WHERE zitadel_sub = 'member'")
    db.close()
    is_refused("sign in again", ask("member", "POST", REAUTH, {}), 403, "AUTH_INSUFFICIENT")
    is_refused("and no password stands for it", ask("member", "POST", REAUTH, {"password": "guess-guess"}), 403, "AUTH_INSUFFICIENT")
    world.enter("member", "home")
    check("then it is", ask("member", "POST", REAUTH, {}).status == 200)


def a_value_is_of_its_place(item):
    other = ask("owner", "POST", ITEMS, {"key": "other", "value": "another"}).data["id"]
    world.row("home", "UPDATE _kombi_wallet SET ciphertext = ? WHERE id = ?", stored()[item], other)
    proof = ask("owner", "POST", REAUTH, {}).data["proof"]
    moved = reveal("owner", other, proof)
    is_refused("a ciphertext that was moved opens nothing", moved, 500, "CONFIGURATION_ERROR")
    check("and tells nothing", VALUE not in moved.body.decode(), moved)
    is_refused("another tenant has none of it", reveal("neighbour", item, proof, slug="away"), 404, "NOT_FOUND")
    check("forgotten", ask("owner", "DELETE", f"{ITEMS}/{other}").status == 204)
    is_refused("once", ask("owner", "DELETE", f"{ITEMS}/{other}"), 404, "NOT_FOUND")


def telling_is_limited(item):
    proof = ask("owner", "POST", REAUTH, {}).data["proof"]
    answers = [reveal("owner", item, proof) for _ in range(40)]
    check("many in a row are too many", answers[-1].status == 429 and answers[0].status == 200, answers[-1])


def flags(version, **values):
    applied = world.as_service("admin", "POST", "/api/internal/feature-flags/apply", {"org": "org-home", "version": version, "flags": values})
    check("flags applied", applied.status == 200, applied)


def a_flag_shuts_the_routes():
    flags(1, wallet=False)
    session = {"Authorization": world.sessions["owner", "home"]["token"]}
    is_refused("shut by its flag", ask("owner", "GET", ITEMS), 403, "AUTH_INSUFFICIENT")
    is_refused("for sessions too", world.wire.call("GET", f"/tenant/home{ITEMS}", None, session), 403, "AUTH_INSUFFICIENT")
    check("other routes are not", ask("owner", "GET", "/v1/tenant").status == 200)
    check("nor other tenants", ask("neighbour", "GET", ITEMS, slug="away").status == 200)
    flags(2, wallet=True)
    check("open again", ask("owner", "GET", ITEMS).status == 200)


for slug in ("home", "away"):
    world.tenant(slug)
for person in ("owner", "member", "viewer"):
    world.enter(person, "home")
world.enter("neighbour", "away")
world.set_role("viewer", "home", "viewer")
kept = items_come_and_go_without_values()
a_value_is_told_for_a_proof(kept)
an_old_sign_in_is_no_proof()
a_value_is_of_its_place(kept)
a_flag_shuts_the_routes()
telling_is_limited(kept)
tally.end()
