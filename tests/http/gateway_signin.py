#!/usr/bin/env python3
"""The platform's own file with the certified provider of deploy/dev-idp: a
browser signs in, works, signs out, and the provider ends sessions:
tests/support/captive gateway tests/http/gateway_signin.py"""
# not-quick: starts node
import http.server
import json
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from client import request  # noqa: E402
from gateway_rig import ROOT, Gateway, Upstream, run_tests, until  # noqa: E402
from oidc_rig import Browser, Quiet, Redis, dev_idp  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-signin-test-"))
UPSTREAM, REDIS = Upstream(), Redis(FOLDER)
COOKIE, SECRET = "kombi_sid", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
GW = RELAY = ISSUER = None


class Relay(http.server.BaseHTTPRequestHandler):
    """The gateway's address as the provider knows it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = GW.call("POST", self.path, [("Content-Type", self.headers["Content-Type"])], body)
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_):
        pass


class Person(Browser):
    """A browser at the gateway and at the provider."""

    def __init__(self):
        super().__init__(GW)
        self.own = {}

    def provider(self, method, url, form=None):
        """One page of the provider, redirects inside of it followed."""
        while True:
            headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.own.items())}
            body = None
            if form is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
                body = urllib.parse.urlencode(form).encode()
            answer = request(method, url, body, headers)
            self.own.update(answer.cookies())
            where = answer.header("location")
            if where is None:
                return url, answer
            url, method, form = urllib.parse.urljoin(url, where), "GET", None
            if not url.startswith(ISSUER):
                return url, None

    def sign_in_as(self, user, path="/v1/stacks"):
        away = self.visit(path)
        assert away.status == 302, (away.status, away.body)
        url, page = self.provider("GET", away.head.get("Location"))
        if page is not None:
            action = re.search(rb'action="([^"]+)"', page.body).group(1).decode()
            who = re.search(rb'value="(\d+)">\s*<span>' + user.encode(), page.body).group(1).decode()
            url, page = self.provider("POST", urllib.parse.urljoin(ISSUER, action), {"user": who})
        assert page is None, page.body[:300]
        home = self.visit(self.back(url))
        assert home.status == 303 and home.head.get("Location") == path, (home.status, home.body, home.head.fields)

    def leave_provider(self, url):
        """The provider asks whether to sign out; yes."""
        _, page = self.provider("GET", url)
        xsrf = re.search(rb'name="xsrf" value="([^"]+)"', page.body).group(1).decode()
        action = re.search(rb'action="([^"]+)"', page.body).group(1).decode()
        return self.provider("POST", urllib.parse.urljoin(ISSUER, action), {"xsrf": xsrf, "logout": "yes"})


def fields_of(answer):
    assert answer.status == 200, (answer.status, answer.body)
    return {name.lower(): value for name, value in answer.json()["headers"]}


def test_a_person_signs_in_and_stack_gets_the_identity():
    alice = Person()
    alice.sign_in_as("Alice")
    head = fields_of(alice.call("GET", "/v1/stacks"))
    assert head["x-user-email"] == "alice@acme.localhost" and head["x-subscription-plan"] == "pro", head
    assert "admin" in head["x-user-roles"].split(",") and head["x-tenant-id"] == "acme" and "cookie" not in head, head
    again = Person()
    again.own = alice.own
    again.sign_in_as("Alice", "/v1/jobs")  # without being asked: the provider knows the browser
    assert fields_of(again.call("GET", "/v1/jobs"))["x-user-id"] == head["x-user-id"]


def test_the_refresh_token_of_the_provider_works():
    carol = Person()
    carol.sign_in_as("Carol")
    before = fields_of(carol.call("GET", "/v1/stacks"))["x-user-id"]
    log = len(GW.logged())

    def refreshed():
        answer = carol.call("GET", "/v1/stacks")
        assert answer.status == 200 and fields_of(answer)["x-user-id"] == before, (answer.status, GW.logged()[log:])
        return REDIS.command("INFO", "commandstats").count("cmdstat_evalsha") or REDIS.command("INFO", "commandstats").count("cmdstat_eval")
    until(refreshed, 15, "the refresh")  # the lock was given back: somebody has refreshed


def test_signing_out_ends_all_sessions_of_that_browser_by_the_back_channel():
    bob, other = Person(), Person()
    bob.sign_in_as("Bob")
    second = Person()
    second.own = bob.own
    second.sign_in_as("Bob", "/v1/jobs")
    other.sign_in_as("Erin")
    out = bob.call("POST", "/auth/logout", [("Origin", "http://api.test")], b"")
    assert out.status == 303 and out.head.get("Location").startswith(ISSUER + "/oidc/v1/end_session?"), out.head.fields
    assert COOKIE not in bob.jar and second.call("GET", "/v1/jobs").status in (200, 401)
    url, _ = bob.leave_provider(out.head.get("Location"))
    assert url == RELAY + "/", url
    until(lambda: second.call("GET", "/v1/jobs").status == 401, 5, "the end of the other session")
    assert other.call("GET", "/v1/stacks").status == 200


def main():
    global GW, RELAY, ISSUER
    relay = Quiet(("127.0.0.1", 0), Relay)
    threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    RELAY = f"http://127.0.0.1:{relay.server_address[1]}"
    secret = FOLDER / "secret"
    secret.write_text(SECRET)
    started = dev_idp(FOLDER, KOMBI_IDP_GATEWAY_URL=RELAY, KOMBI_IDP_GATEWAY_SECRET_FILE=str(secret),
                      KOMBI_IDP_PROFILE_IN_TOKEN="false", KOMBI_IDP_TOKEN_TTL="40")
    if started is None:
        print("0 passed, 0 failed, 1 skipped (node or its packages are not installed)")
        return 0
    provider, ISSUER = started
    UPSTREAM.rules["/api/internal/tenants/by-org"] = lambda wire, head: wire.sock.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(TENANT), TENANT))
    ports = {f"{name}_SERVICE_PORT": str(UPSTREAM.port) for name in ("ADMIN", "STACK", "SIM", "STACKKITS", "SPHERE")}
    try:
        GW = Gateway((ROOT / "deploy/gateway/kong.yml").read_text(), ZITADEL_ISSUER=ISSUER, KOMBI_AUDIENCE="kombify",
                     ZITADEL_CLIENT_ID="kombify-gateway", ZITADEL_CLIENT_SECRET=SECRET, GATEWAY_PUBLIC_URL=RELAY,
                     LOGOUT_REDIRECT_URL=RELAY + "/", OIDC_SESSION_SECRET=SECRET[::-1], REDIS_HOST="127.0.0.1",
                     REDIS_PORT=str(REDIS.port), **ports)
        until(lambda: Browser(GW).visit("/v1/stacks").status == 302, 10, "Redis")
        code = run_tests(globals())
        GW.stop()
    finally:
        provider.kill()
        provider.wait()
        relay.shutdown()
        UPSTREAM.stop()
        REDIS.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)
    return code


TENANT = json.dumps({"data": [{"slug": "acme", "status": "active"}]}).encode()

if __name__ == "__main__":
    sys.exit(main())
