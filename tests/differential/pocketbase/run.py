#!/usr/bin/env python3
"""Compares a tenant's API with the real PocketBase server, call by call.

Run by: tests/support/captive stack $PWD/tests/differential/pocketbase/run.py
TEST_PB_AREA=NAME limits it to one area, TEST_PB_SHOW=N shows more findings (40).

Some hundred calls go to both; statuses, key sets, types, values, messages and
error codes must be the same but for what stands in differences.py. Closes with
`N passed, N failed` (calls, findings). Exits with 77 where PocketBase cannot
be built.
"""
# captive-env: KOMBIFY_DEPLOYMENT_MODE=self-hosted STACKKITS_URL=http://127.0.0.1:9
import os
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "support")]

import admin  # noqa: E402
import auth  # noqa: E402
import collections_api  # noqa: E402
import filters  # noqa: E402
import records  # noqa: E402
import rules  # noqa: E402
from differences import excuse  # noqa: E402
from pair import Pair, Side  # noqa: E402
from servers import EMAIL, PASSWORD, PocketBase, build  # noqa: E402

AREAS = (("collections", collections_api.run), ("records", records.run), ("filters", filters.run),
         ("rules", rules.run), ("auth", auth.run), ("admin", admin.run))


def superuser_of_ours():
    """The first superuser of our tenant, made with the token that a new self-hosted instance writes."""
    url = os.environ["KOMBI_URL"]
    side = Side("ours", f"{url}/tenant/default")
    token = pathlib.Path(os.environ["KOMBI_DATA_DIR"], "setup-token").read_text().strip()
    Side("setup", url).call("POST", "/api/x/setup", {"token": token, "email": EMAIL, "password": PASSWORD})
    answer = side.call("POST", "/api/collections/_superusers/auth-with-password", {"identity": EMAIL, "password": PASSWORD})
    side.tokens["root"] = answer.body["token"]
    return side


def superuser_of_theirs(url):
    side = Side("theirs", url)
    answer = side.call("POST", "/api/collections/_superusers/auth-with-password",
                       {"identity": EMAIL, "password": PASSWORD})
    side.tokens["root"] = answer.body["token"]
    return side


def compare(url):
    pair = Pair(superuser_of_theirs(url), superuser_of_ours(), excuse)
    for name, run in AREAS:
        if os.environ.get("TEST_PB_AREA", name) != name:
            continue
        pair.area = name
        try:
            run(pair)
        except Exception as problem:  # noqa: BLE001: the other areas are still compared
            pair.findings.append((name, "the area broke off", "", None, f"{type(problem).__name__}: {problem}"))
    return pair


def report(pair):
    for area, name, who, body, line in pair.findings[:int(os.environ.get("TEST_PB_SHOW", "40"))]:
        print(f"{area}: {name} as {who}" + (f" with {str(body)[:200]}" if body else "") + f"\n    {line}")
    for reason, calls in pair.excused.items():
        print(f"meant, {len(calls)} times: {reason}")
    failed = len(pair.findings)
    print(f"{pair.calls} calls")
    print(f"{max(0, pair.calls - failed)} passed, {failed} failed")
    return 1 if failed else 0


def main():
    program = build()
    if program is None:
        print("PocketBase cannot be built here: Go and its module proxy are needed")
        return 77
    with tempfile.TemporaryDirectory(prefix="kombi-pocketbase-") as folder:
        server = PocketBase(program, folder)
        try:
            return report(compare(server.url))
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
