#!/usr/bin/env python3
"""The main job, as a person would do it: from signing in to reading the log.

Every step says what it asks and what came back, and holds the answer against
the contract. deploy/local demo runs this file; tests/e2e uses its steps.
Settings from the environment: KOMBI_URL, ZITADEL_ISSUER, ZITADEL_CLIENT_ID,
CUE_BIN. Usage: main_job.py [--user NAME] [--keep]"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import tarfile
import time

import signin
from client import request

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/homelab/kombination.yaml"
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Broken(AssertionError):
    """An answer that is not what the contract says."""


def expect(good, what):
    if not good:
        raise Broken(what)


def expect_fields(value, fields, where):
    """`fields`: name -> type or tuple of types."""
    expect(isinstance(value, dict), f"{where} is not an object: {value!r}")
    for name, kind in fields.items():
        expect(name in value, f"{where} has no '{name}': {sorted(value)}")
        expect(isinstance(value[name], kind), f"{where}.{name} is {value[name]!r}")


def expect_error(answer, status, code):
    """The envelope of an error: code, message, request id, timestamp."""
    expect(answer.status == status, f"expected {status} {code}, got {answer.status}: {answer.body[:300]!r}")
    error = answer.json().get("error")
    expect_fields(error, {"code": str, "message": str, "requestId": str, "timestamp": str}, "error")
    expect(error["code"] == code, f"expected {code}, got {error['code']}: {error['message']}")
    expect(TIMESTAMP.match(error["timestamp"]), f"error.timestamp is {error['timestamp']!r}")
    expect(answer.header("x-request-id") == error["requestId"], "X-Request-ID is not error.requestId")


class Screen:
    """Prints the conversation; colours on a terminal only."""

    def __init__(self, out=sys.stdout, quiet=False):
        self.out, self.quiet = out, quiet
        self.colour = out.isatty() and not os.environ.get("NO_COLOR")

    def line(self, code, text):
        if not self.quiet:
            print(f"\x1b[{code}m{text}\x1b[0m" if self.colour else text, file=self.out, flush=True)

    def title(self, text):
        self.line("1", f"\n{text}")

    def asked(self, method, target, body):
        shown = "" if body is None else " " + self.short(body)
        self.line("36", f"  > {method} {target}{shown}")

    def answered(self, answer, ms=None):
        kind = answer.header("content-type") or ""
        text = self.short(answer.body.decode(errors="replace")) if "json" in kind else f"{len(answer.body)} bytes of {kind or 'nothing'}"
        self.line("32" if answer.status < 400 else "33", f"  < {answer.status} {text}{'' if ms is None else f'  ({ms:.0f} ms)'}")

    def note(self, text):
        self.line("2", f"    {text}")

    @staticmethod
    def short(value, limit=150):
        text = value if isinstance(value, str) else json.dumps(value)
        text = re.sub(r'("(?:token|access_token)": ?")([^"]{12})[^"]+', r"\1\2…", text)
        return text if len(text) <= limit else text[: limit - 1] + "…"


class MainJob:
    """State handed from step to step. `between(step)` is called after each."""

    def __init__(self, url, issuer, client_id, cue, who="alice", screen=None, keep=False):
        self.url, self.issuer, self.client_id, self.cue, self.who = url, issuer, client_id, cue, who
        self.screen = screen or Screen()
        self.keep = keep
        self.mark = secrets.token_hex(3)
        self.token = self.tenant = self.stack = self.job = self.simulation = None
        self.yaml = EXAMPLE.read_text()

    # ---- asking ----------------------------------------------------------

    def ask(self, method, target, body=None, headers=None, quiet=False):
        headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        if not quiet:
            self.screen.asked(method, target, body)
        start = time.monotonic()
        answer = request(method, self.url + target, body, headers)
        if not quiet:
            self.screen.answered(answer, (time.monotonic() - start) * 1000)
        return answer

    def data(self, answer, status, fields, where):
        """The checked `data` of a successful answer in the envelope."""
        expect(answer.status == status, f"expected {status}, got {answer.status}: {answer.body[:300]!r}")
        expect(answer.header("x-request-id"), "the answer has no X-Request-ID")
        body = answer.json()
        expect("error" not in body and "data" in body, f"not a success envelope: {sorted(body)}")
        expect_fields(body["data"], fields, where)
        return body["data"]

    def poll(self, target, done, what, seconds=30):
        """Asks again and again until `done(data)`; shows the last answer."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.ask("GET", target, quiet=True)
            value = self.data(answer, 200, {"id": str, "status": str}, what)
            if done(value):
                self.screen.asked("GET", target, None)
                self.screen.answered(answer)
                return value
            expect(time.monotonic() < deadline, f"{what} is still '{value['status']}' after {seconds} s")
            time.sleep(0.05)

    # ---- the steps -------------------------------------------------------

    def signs_in(self):
        """Signs in at the identity provider (authorization code + PKCE)"""
        self.screen.asked("GET", f"{self.issuer}/oauth/v2/authorize?…&login_hint={self.who}", None)
        tokens = signin.sign_in(self.issuer, self.client_id, self.who)
        expect_fields(tokens, {"access_token": str, "id_token": str, "expires_in": int}, "token response")
        expect(tokens["token_type"] == "Bearer", f"token_type is {tokens['token_type']!r}")
        self.token = tokens["access_token"]
        self.claims = signin.claims_of(self.token)
        self.org = self.claims["urn:zitadel:iam:user:resourceowner:id"]
        self.screen.note(f"user {self.claims['sub']}, organisation {self.org}, plan {self.claims.get('plan', 'by role')}, "
                         f"token for {tokens['expires_in']} s")

    def creates_a_tenant(self):
        """Creates a tenant for the organisation"""
        name = self.claims.get("urn:zitadel:iam:user:resourceowner:name", self.who)
        answer = self.ask("POST", "/v1/tenants", {"name": f"{name.capitalize()} home", "slug": name})
        if answer.status == 409:
            expect_error(answer, 409, "CONFLICT")
            self.screen.note("the organisation has one already")
            listed = self.ask("GET", "/v1/tenants")
            expect(listed.status == 200, f"expected 200, got {listed.status}")
            tenants = listed.json().get("data")
            expect(isinstance(tenants, list) and len(tenants) == 1, f"expected one tenant, got {tenants!r}")
            self.tenant = tenants[0]
            expect_fields(self.tenant, {"id": str, "slug": str, "name": str}, "tenant")
        else:
            self.tenant = self.data(answer, 201, {"id": str, "slug": str, "name": str}, "tenant")
        expect(self.tenant["slug"] == name, f"the slug is {self.tenant['slug']!r}")
        self.waits_for_the_instance()

    def waits_for_the_instance(self):
        """A tenant may be used once its stack instance knows it."""
        deadline = time.monotonic() + 15
        while not self.tenant.get("provisioned", True):
            expect(time.monotonic() < deadline, "the tenant is not provisioned after 15 s")
            time.sleep(0.05)
            self.tenant = self.ask("GET", "/v1/tenants", quiet=True).json()["data"][0]

    def launches_the_homelab(self):
        """Launches the homelab: the SSO exchange through the gateway"""
        answer = self.ask("GET", "/kombistack/sso/start", headers={"Accept": "application/json"})
        expect(answer.status == 200, f"expected 200, got {answer.status}: {answer.body[:300]!r}")
        session = answer.json()
        expect_fields(session, {"token": str, "tenantId": str, "tenantSlug": str, "userId": str, "email": str,
                                "role": str, "expiresAt": str, "user": dict, "redirectUrl": str}, "session")
        expect("data" not in session, "the SSO answer is not bare")
        expect(session["tenantSlug"] == self.tenant["slug"], f"another tenant: {session['tenantSlug']}")
        expect(session["email"] == self.claims["email"], f"another e-mail: {session['email']}")
        expect(session["role"] in ("admin", "member", "viewer"), f"role {session['role']!r}")
        expect(session["redirectUrl"].endswith(f"/tenant/{self.tenant['slug']}/dashboard"), session["redirectUrl"])
        expect(session["expiresAt"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()), "the session is over already")
        self.session = session["token"]
        self.launches_as_a_browser()
        self.enters_with_the_session(session)

    def enters_with_the_session(self, session):
        home = f"/tenant/{self.tenant['slug']}"
        page = self.ask("GET", f"{home}/dashboard", headers={"Authorization": session["token"]})
        expect(page.status == 200, f"the dashboard answered {page.status}: {page.body[:200]!r}")
        mine = self.ask("GET", f"{home}/v1/stacks", headers={"Authorization": session["token"]})
        expect(mine.status == 200, f"the session token is not taken: {mine.status} {mine.body[:200]!r}")
        expect_error(self.ask("GET", f"{home}/v1/stacks", headers={"Authorization": session["token"][:-3] + "AAA"}),
                     401, "AUTH_INVALID")

    def launches_as_a_browser(self):
        answer = self.ask("GET", "/kombistack/sso/start", headers={"Accept": "text/html"})
        expect(answer.status == 302, f"expected 302, got {answer.status}: {answer.body[:300]!r}")
        expect(answer.header("location").endswith(f"/tenant/{self.tenant['slug']}/dashboard"), answer.header("location"))
        cookie = answer.header("set-cookie") or ""
        expect(cookie.startswith("kombi_session="), f"cookie {cookie[:40]!r}")
        expect("httponly" in cookie.lower() and "samesite=lax" in cookie.lower(), "the cookie lacks HttpOnly or SameSite=Lax")

    def lists_the_kits(self):
        """Lists the StackKits"""
        answer = self.ask("GET", "/v1/stackkits")
        expect(answer.status == 200, f"expected 200, got {answer.status}: {answer.body[:300]!r}")
        kits = answer.json().get("kits")
        expect(isinstance(kits, list) and kits, "no kits")
        for kit in kits:
            expect_fields(kit, {"id": str, "name": str, "version": str, "description": str, "minPlan": str,
                                "tags": list, "downloadUrl": str}, "kit")
        expect("base-homelab" in [kit["id"] for kit in kits], "base-homelab is not among them")

    def downloads_the_kit(self):
        """Downloads base-homelab and checks what came"""
        answer = self.ask("GET", "/v1/stackkits/base-homelab/download")
        expect(answer.status == 200, f"expected 200, got {answer.status}: {answer.body[:300]!r}")
        expect(answer.header("content-type") == "application/gzip", f"content type {answer.header('content-type')!r}")
        digest = hashlib.sha256(answer.body).hexdigest()
        expect(answer.header("x-checksum-sha256") == digest, "X-Checksum-SHA256 is not the body's SHA-256")
        with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:gz") as tar:
            names = tar.getnames()
        tops = {name.split("/", 1)[0] for name in names}
        expect(len(tops) == 1 and tops.pop().startswith("base-homelab-"), f"top folders {tops}")
        expect(any(name.endswith("/stackfile.cue") for name in names), "no stackfile.cue in the kit")
        expect(any("/tofu/" in name for name in names), "no tofu/ in the kit")
        self.screen.note(f"SHA-256 {digest[:16]}… is right; {len(names)} entries, e.g. {names[-1]}")

    def creates_a_stack(self):
        """Creates a stack from examples/homelab/kombination.yaml"""
        answer = self.ask("POST", "/v1/stacks", {"name": f"house-{self.mark}", "kit": "base-homelab", "spec": self.yaml})
        self.stack = self.data(answer, 201, {"id": str, "name": str, "status": str}, "stack")
        expect(self.stack["name"] == f"house-{self.mark}", f"name {self.stack['name']!r}")
        expect(self.stack["status"] == "draft", f"status {self.stack['status']!r}")
        read = self.data(self.ask("GET", f"/v1/stacks/{self.stack['id']}"), 200, {"id": str, "spec": str}, "stack")
        expect(read["spec"] == self.yaml, "the stored file is not byte for byte the one that was sent")

    def validates_it(self):
        """Validates the file against the kit with cue, and a broken one too"""
        target = "/v1/stackkits/base-homelab/validate"
        answer = self.ask("POST", target, {"kombinationYaml": self.yaml})
        expect(answer.status == 200, f"expected 200, got {answer.status}: {answer.body[:300]!r}")
        expect(answer.json().get("valid") is True, f"the example is not valid: {answer.body[:500]!r}")
        answer = self.ask("POST", target, {"kombinationYaml": self.yaml.replace("memory: 4Gi", "memory: plenty")})
        expect(answer.status == 200, f"expected 200, got {answer.status}: {answer.body[:300]!r}")
        report = answer.json()
        expect(report.get("valid") is False, "a broken file is called valid")
        for error in report["errors"]:
            expect_fields(error, {"path": str, "code": str, "message": str}, "errors[]")
        expect("nodes[0].resources.memory" in [error["path"] for error in report["errors"]], f"{report['errors']}")

    def starts_a_job(self):
        """Starts the validation job of the stack"""
        answer = self.ask("POST", f"/v1/stacks/{self.stack['id']}/validate")
        self.job = self.data(answer, 202, {"jobId": str}, "job")["jobId"]

    def starts_a_simulation(self):
        """Starts a simulation of the nodes"""
        nodes = [{key: node[key] for key in ("name", "type", "resources")} for node in self.nodes_of_example()]
        answer = self.ask("POST", "/v1/simulations", {"name": f"house-{self.mark}", "nodes": nodes})
        made = self.data(answer, 201, {"id": str, "name": str, "status": str, "nodes": list}, "simulation")
        self.simulation = made["id"]
        expect([node["name"] for node in made["nodes"]] == [node["name"] for node in nodes], f"nodes {made['nodes']}")
        answer = self.ask("POST", f"/v1/simulations/{self.simulation}/start")
        self.data(answer, 202, {"id": str, "status": str}, "simulation")
        self.poll(f"/v1/simulations/{self.simulation}", lambda s: s["status"] == "running", "simulation")

    def nodes_of_example(self):
        out = subprocess.run([self.cue, "export", "--out", "json", str(EXAMPLE)], check=True, capture_output=True, timeout=30)
        return json.loads(out.stdout)["nodes"]

    def reads_the_job_and_its_log(self):
        """Reads the job and its log, whole and from the middle on"""
        job = self.poll(f"/v1/jobs/{self.job}", lambda j: j["status"] in ("completed", "failed"), "job")
        expect(job["status"] == "completed", f"the job failed: {job}")
        expect_fields(job, {"type": str, "createdAt": str, "startedAt": str, "completedAt": str}, "job")
        lines = self.log_after(0)
        expect(len(lines) >= 2, f"only {len(lines)} log lines")
        numbers = [line["seq"] for line in lines]
        expect(numbers == sorted(set(numbers)), f"log numbers are not rising: {numbers}")
        middle = numbers[len(numbers) // 2 - 1]
        expect(self.log_after(middle) == [line for line in lines if line["seq"] > middle], "the log does not resume at its number")
        for line in lines:
            self.screen.note(f"{line['timestamp']} {line['level']:5} {line['message']}")

    def log_after(self, number):
        answer = self.ask("GET", f"/v1/jobs/{self.job}/logs?after={number}")
        expect(answer.status == 200, f"expected 200, got {answer.status}: {answer.body[:300]!r}")
        page = answer.json().get("data")
        expect_fields(page, {"lines": list, "next": int, "status": str, "done": bool}, "log")
        for line in page["lines"]:
            expect_fields(line, {"seq": int, "timestamp": str, "level": str, "message": str}, "log line")
        expect(page["done"], "the job is over, its log is not")
        lines = page["lines"]
        return lines

    def tidies_up(self):
        """Deletes the simulation and the stack"""
        self.data(self.ask("DELETE", f"/v1/simulations/{self.simulation}"), 202, {"id": str}, "simulation")
        self.waits_until_it_is_gone(f"/v1/simulations/{self.simulation}")
        if self.keep:
            return
        answer = self.ask("DELETE", f"/v1/stacks/{self.stack['id']}")
        expect(answer.status == 204 and not answer.body, f"expected an empty 204, got {answer.status}: {answer.body[:300]!r}")
        self.waits_until_it_is_gone(f"/v1/stacks/{self.stack['id']}")

    def waits_until_it_is_gone(self, target, seconds=15):
        deadline = time.monotonic() + seconds
        while self.ask("GET", target, quiet=True).status == 200:
            expect(time.monotonic() < deadline, f"{target} is still there after {seconds} s")
            time.sleep(0.05)
        expect_error(self.ask("GET", target), 404, "NOT_FOUND")

    STEPS = (signs_in, creates_a_tenant, launches_the_homelab, lists_the_kits, downloads_the_kit, creates_a_stack,
             validates_it, starts_a_job, starts_a_simulation, reads_the_job_and_its_log, tidies_up)

    def run(self, between=lambda step: None):
        """All steps; raises Broken (or an OSError) at the first that fails."""
        for number, step in enumerate(self.STEPS, 1):
            self.screen.title(f"{number}. {step.__doc__}")
            step(self)
            between(step.__name__)


def from_environment(who="alice", screen=None, keep=False):
    env = os.environ
    cue = env.get("CUE_BIN", str(ROOT / ".local/tools/cue"))
    return MainJob(env["KOMBI_URL"], env["ZITADEL_ISSUER"], env["ZITADEL_CLIENT_ID"], cue, who, screen, keep)


def main():
    parser = argparse.ArgumentParser(description="The main job, every answer checked.")
    parser.add_argument("--user", default="alice", help="who signs in (default: alice)")
    parser.add_argument("--keep", action="store_true", help="leave the stack for looking at")
    arguments = parser.parse_args()
    screen = Screen()
    start = time.monotonic()
    try:
        from_environment(arguments.user, screen, arguments.keep).run()
    except (AssertionError, OSError, KeyError, subprocess.SubprocessError) as problem:
        screen.line("31", f"\n  FAILED: {type(problem).__name__}: {problem}")
        screen.note("what the services saw: deploy/local logs")
        return 1
    screen.line("1;32", f"\nThe main job went through: {len(MainJob.STEPS)} steps in {time.monotonic() - start:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
