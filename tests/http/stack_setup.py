#!/usr/bin/env python3
"""A self-hosted instance: its home is there at once, its first superuser is made once, by who can read the data folder."""
# captive-env: KOMBIFY_DEPLOYMENT_MODE=self-hosted STACKKITS_URL=http://127.0.0.1:9
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import at_once  # noqa: E402

tally, world = Tally(), StackWorld()
check = tally.check
PATH = os.path.join(world.data, "setup-token")
GOOD = {"email": "root@example.test", "password": "correct horse battery"}
SIGN_IN = "auth-with-password"


def call(method, target, body=None, headers=()):
    return world.wire.call(method, target, body, headers)


def setup(token, **instead):
    return call("POST", "/api/x/setup", {"token": token, **GOOD, **instead})


with open(PATH, encoding="ascii") as file:
    token = file.read()
check("the token's file is its owner's alone", stat.S_IMODE(os.stat(PATH).st_mode) == 0o600 and len(token) == 43)
check("the home is there", call("GET", "/tenant/default/api/health").status == 200)
check("its users cannot be listed by guests", call("GET", "/api/collections/users/records").data is None)
refused = setup("A" * 43)
check("a made-up token makes nobody", refused.status == 403 and refused.code == "AUTH_INSUFFICIENT", refused)
weak = setup(token, password="short")
check("a weak password is told, and the token stays good", weak.status == 400 and os.path.exists(PATH), weak)
check("so is a bad address", setup(token, email="nobody").status == 400)
answers = at_once(5, lambda _: setup(token))
check("made once", sorted(answer.status for answer in answers) == [201] + [404] * 4, answers)
check("the token is gone", not os.path.exists(PATH))
check("and the door is shut", setup(token, email="second@example.test").status == 404)
for where in ("/api/collections/_superusers/", "/tenant/default/api/collections/_superusers/"):
    entered = call("POST", where + SIGN_IN, {"identity": GOOD["email"], "password": GOOD["password"]})
    check(f"the superuser signs in at {where}", entered.status == 200 and entered.json().get("token"), entered)
made = call("POST", "/api/collections/users/records", {"email": "anna@example.test", "password": "a local account", "passwordConfirm": "a local account"},
            {"Authorization": entered.json()["token"]})
check("and makes a local account", made.status == 200, made)
local = call("POST", "/api/collections/users/" + SIGN_IN, {"identity": "anna@example.test", "password": "a local account"})
check("which signs in", local.status == 200 and local.json()["record"]["email"] == "anna@example.test", local)
tally.end()
