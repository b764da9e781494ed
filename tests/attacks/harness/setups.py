"""The two surroundings of the gateway: stubs that record (StubSetup), and the
platform's own services on a PostgreSQL of their own (RealSetup)."""

import os
import re
import tempfile
import time
import pathlib

from .services import ROOT, Service
from .stubs import KeyServer, Trap, Upstream
from .tokens import AUDIENCE, ISSUER
from .wire import NoAnswer, ask

KONG = ROOT / "deploy/gateway/kong.yml"
# Raised so that no corpus trips a limit, and still one number a plan.
FACTOR = 1000
PLAN_LIMIT = {"free": 100 * FACTOR, "pro": 500 * FACTOR, "enterprise": 1000 * FACTOR}
ORGS = ("org_a", "org_b")
LARGE = b'{"data":"' + b"x" * (16 << 20) + b'"}'


def roomy_kong(folder):
    """kong.yml with its limits raised."""
    def raised(found):
        return "limit: [" + ", ".join(str(int(n) * FACTOR) for n in found[1].split(",")) + "]"
    text, count = re.subn(r"\blimit: \[([0-9, ]+)\]", raised, KONG.read_text())
    assert count, "kong.yml has no limits any more"
    path = pathlib.Path(folder) / "kong.yml"
    path.write_text(text)
    return path


def wait_for(what, seconds, condition, pause=0.01):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(pause)


def gateway_environment(folder, ports, jwks_url):
    environment = dict(KONG_DECLARATIVE_CONFIG=str(roomy_kong(folder)), KOMBI_ADMIN_LISTEN="127.0.0.1:0",
                       ZITADEL_ISSUER=ISSUER, ZITADEL_JWKS_URL=jwks_url, KOMBI_AUDIENCE=AUDIENCE,
                       ZITADEL_CLIENT_ID="kombisphere-cloud", KOMBI_WORKERS="1")
    for service, port in ports.items():
        environment[f"{service}_SERVICE_HOST"] = "127.0.0.1"
        environment[f"{service}_SERVICE_PORT"] = str(port)
    return environment


class Setup:
    """Something with a gateway; closes what it opened, last first."""

    def __init__(self, keys):
        self.keys, self.parts = keys, []
        self.folder = tempfile.TemporaryDirectory(dir=keys.folder)

    def keep(self, part):
        self.parts.append(part)
        return part

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for part in reversed(self.parts):
            part.stop()
        self.folder.cleanup()

    def start_gateway(self, ports, jwks_url):
        self.gateway = self.keep(Service("gateway", gateway_environment(self.folder.name, ports, jwks_url),
                                         self.keys.secret_file))
        self.port = self.gateway.port

    def answers_200(self, persona="user_a", path="/v1/stacks"):
        try:
            return ask(self.port, "GET", path, self.keys.bearer(persona))[0].status == 200
        except NoAnswer:
            return False


class StubSetup(Setup):
    """`script`: what the issuer answers for its keys (KeyServer)."""

    def __init__(self, keys, script=None, ready=True):
        super().__init__(keys)
        self.book = []
        self.trap = self.keep(Trap())
        self.issuer = self.keep(KeyServer(*(script or [(200, "", keys.jwks)])))
        self.stubs = {name: self.keep(Upstream(name, self.book, answer)) for name, answer in (
            ("admin", self.admin_answers), ("stack", self.stack_answers), ("sim", self.other_answers),
            ("stackkits", self.other_answers), ("sphere", self.other_answers))}
        self.start_gateway({name.upper(): stub.port for name, stub in self.stubs.items()}, self.issuer.url)
        if ready:
            wait_for("the gateway's first 200", 10, self.answers_200)
            self.book.clear()

    def warm(self):
        """Idle connections to the upstreams, nothing in the book."""
        ask(self.port, "POST", "/v1/stacks", self.keys.bearer("user_a"), {"name": "warm"})
        ask(self.port, "GET", "/v1/catalog/public")
        time.sleep(0.005)  # what the last case left behind has arrived
        self.book.clear()

    def of_clients(self):
        return [r for r in list(self.book) if not r.is_gateways_own]

    def admin_answers(self, request):
        path = request.path.split("?")[0]
        if path.startswith("/api/internal/tenants/by-org/"):
            return 200, self.tenant(path.rsplit("/", 1)[1])
        if path == "/v1/catalog/public" and "limit=1000" in request.path:
            return 200, LARGE
        if path.startswith("/v1/tenants/") and path.endswith("/users"):  # who is not tenant_admin may not add any
            return (201, {"data": {}}) if "tenant_admin" in ",".join(request.all("X-User-Roles")).split(",") else (403, None)
        known = path in ("/health", "/v1/catalog/public", "/v1/tenants") or path.startswith("/v1/admin")
        return (200, {"data": [], "meta": {"page": 1, "limit": 20, "total": 0}}) if known else (404, None)

    def tenant(self, org):
        if org not in ORGS:
            return {"data": [], "meta": {"page": 1, "limit": 1, "total": 0}}
        instance = {"id": "00000000-0000-4000-8000-0000000000aa", "publicEndpoint": None,
                    "internalEndpoint": f"http://127.0.0.1:{self.stubs['stack'].port}"}
        tenant = {"id": "00000000-0000-4000-8000-0000000000bb", "slug": org.replace("_", "-"), "plan": "PRO",
                  "status": "active", "instance": instance}
        return {"data": [tenant], "meta": {"page": 1, "limit": 1, "total": 1}}

    @staticmethod
    def stack_answers(request):
        path, body = request.path.split("?")[0], request.raw.split(b"\r\n\r\n", 1)[1]
        if path == "/v1/stacks" and request.method == "POST":
            return (201, {"data": {"id": "x", "name": "a"}}) if body else (400, None)
        known = path in ("/health", "/v1/stacks", "/v1/tenant")
        return (200, {"data": [], "meta": {"page": 1, "limit": 20, "total": 0}}) if known else (404, None)

    @staticmethod
    def other_answers(request):
        return (200, {"status": "healthy"}) if request.path == "/health" else (404, None)


class RealSetup(Setup):
    """Gateway, admin, stack and stackkits; tenants of org_a and org_b stand, and
    user_a and user_b have entered. Needs tests/support/with-postgres around it."""

    def __init__(self, keys):
        super().__init__(keys)
        self.issuer = self.keep(KeyServer((200, "", keys.jwks)))
        data = pathlib.Path(self.folder.name) / "stack"
        data.mkdir()
        self.stackkits = self.service("stackkits", STACKKITS_DIR=str(ROOT / "stackkits"))
        self.stack = self.service("stack", KOMBI_DATA_DIR=str(data), STACKKITS_SERVICE_HOST="127.0.0.1",
                                  STACKKITS_SERVICE_PORT=str(self.stackkits.port))
        self.admin = self.service("admin", DATABASE_URL_FILE=os.environ["KOMBI_TEST_POSTGRES_URL_FILE"],
                                  STACK_SERVICE_HOST="127.0.0.1", STACK_SERVICE_PORT=str(self.stack.port))
        ports = {"ADMIN": self.admin.port, "STACK": self.stack.port, "STACKKITS": self.stackkits.port,
                 "SIM": 9, "SPHERE": 9}
        self.start_gateway(ports, self.issuer.url)
        self.provision()

    def service(self, name, **environment):
        return self.keep(Service(name, environment, self.keys.secret_file))

    def call(self, method, path, persona, body=b"", headers=()):
        return ask(self.port, method, path, [*self.keys.bearer(persona), *headers], body)[0]

    def provision(self):
        wait_for("the gateway knows the issuer's keys", 10, lambda: self.answers_200("admin", "/v1/admin/tenants"), 0.05)
        for org in ORGS:
            made = self.call("POST", "/v1/admin/tenants", "admin",
                             {"slug": org.replace("_", "-"), "name": f"Tenant {org}", "orgId": org, "plan": "PRO"})
            assert made.status == 201, f"tenant of {org}: {made} {made.body[:300]!r}"
        self.sessions = {persona: self.enter(persona) for persona in ("user_a", "user_b")}
        self.stack_a = self.new_stack("user_a", "stack-of-a")
        self.stack_b = self.new_stack("user_b", "stack-of-b")

    def enter(self, persona):
        """The session token of the tenant. Provisioning may still be on its way."""
        seen = []

        def inside():
            seen.append(self.call("GET", "/kombistack/sso/start", persona, headers=[("Accept", "application/json")]))
            return seen[-1].status == 200
        try:
            wait_for(f"{persona} enters", 15, inside, 0.2)
        except TimeoutError as error:
            raise RuntimeError(f"{error}; last: {seen[-1]} {seen[-1].body[:300]!r}") from None
        return seen[-1].json()["token"]

    def new_stack(self, persona, name):
        made = self.call("POST", "/v1/stacks", persona, {"name": name})
        assert made.status == 201, f"stack of {persona}: {made} {made.body[:300]!r}"
        return made.json()["data"]["id"]
