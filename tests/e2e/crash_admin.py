"""admin killed under load: acknowledged tenants, users and instances are there, and each tenant's letters arrive."""
import itertools
import os
import secrets
import subprocess
import time

import identity
from crash_load import Ledger, judge, under_load
from service_process import ServiceProcess
from stub import Stub
from waiting import until
from wire import Wire


class AdminCrash:
    name = "admin"
    database = "kombi_crash"

    def __init__(self, folder):
        url = os.environ["KOMBI_TEST_POSTGRES"]
        self.sql(url, f"CREATE DATABASE {self.database}")
        head, _, tail = url.rpartition("/")
        self.url = f"{head}/{self.database}" + ("?" + tail.split("?", 1)[1] if "?" in tail else "")
        self.stubs = {name: Stub(lambda _: (201, {})) for name in ("stack", "sim")}
        ports = {f"{name.upper()}_SERVICE_PORT": str(stub.port) for name, stub in self.stubs.items()}
        self.secret = secrets.token_hex(32)
        self.process = ServiceProcess("admin", folder, self.secret, DATABASE_URL=self.url, **ports)
        self.ledger, self.numbers = Ledger(), itertools.count()

    @staticmethod
    def sql(url, statement):
        return subprocess.run(["psql", "-qXAtd", url, "-c", statement], check=True, capture_output=True, text=True).stdout.strip()

    def start(self):
        self.wire = Wire(self.process.start().url)

    def prepare(self):
        body = {"name": "roomy", "region": "here", "internalEndpoint": self.stubs["stack"].url, "maxTenants": 10000}
        assert self.user("POST", "/v1/admin/instances", body, "op", roles="kombisphere_admin").status == 201

    def user(self, method, target, body=None, org="", **more):
        return self.wire.call(method, target, body, identity.proven(identity.identity(f"user-{org}", org, **more), method, "admin"))

    def service(self, name, method, target, body=None):
        return self.wire.call(method, target, body, identity.bearer(name, "admin"))

    def write(self, _index, dice):
        number = next(self.numbers)
        if dice.random() < 0.5:
            self.ledger.trying(f"t{number}")
            answer = self.user("POST", "/v1/tenants", {"slug": f"t{number}", "name": "T"}, f"org-{number}")
            if judge(answer, self.ledger, (201,), "a tenant"):
                self.ledger.is_now(("tenant", f"t{number}"), answer.data["id"])
        elif dice.random() < 0.9:
            answer = self.service("cloud", "POST", "/api/internal/users", {"sub": f"s{number}", "name": f"N{number}"})
            if judge(answer, self.ledger, (200, 201), "a user"):
                self.ledger.is_now(("user", f"s{number}"), answer.json()["id"])
        else:
            body = {"name": f"i{number}", "region": "here", "internalEndpoint": self.stubs["stack"].url, "maxTenants": 10}
            answer = self.user("POST", "/v1/admin/instances", body, "op", roles="kombisphere_admin")
            if judge(answer, self.ledger, (201,), "an instance"):
                self.ledger.is_now(("instance", f"i{number}"), answer.data["id"])

    def crash(self):
        under_load(self.process, self.ledger, self.write)
        return []

    def all(self, target):
        rows, page = [], 1
        while True:
            answer = self.user("GET", f"{target}?limit=100&page={page}", None, "op", roles="kombisphere_admin")
            assert answer.status == 200, answer
            rows += answer.data
            if len(answer.data) < 100:
                return rows
            page += 1

    def lost(self):
        instances = {("instance", row["name"]): row for row in self.user("GET", "/v1/admin/instances", None, "op", roles="kombisphere_admin").data}
        found = {key: row["id"] for key, row in instances.items() if key in self.ledger.states}
        found |= {("tenant", row["slug"]): row["id"] for row in self.all("/v1/admin/tenants")}
        found |= {("user", row["sub"]): row["id"] for row in self.all("/v1/admin/users") if ("user", row["sub"]) in self.ledger.states}
        wrong = self.ledger.differences(found, lambda key: key[1])
        placed = self.sql(self.url, "SELECT count(*) FROM kombistack_instances i WHERE current_tenants <> "
                                    "(SELECT count(*) FROM tenants t WHERE t.instance_id = i.id)")
        return wrong + ([] if placed == "0" else [f"{placed} instances count another number of tenants than they have"])

    def settled(self):
        """A letter that was under way in a crash is taken up again after a minute: here the minute is over at once."""
        slugs = {name for kind, name in self.ledger.states if kind == "tenant"}

        waiting = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"
        self.sql(self.url, "UPDATE outbox SET not_before = now() WHERE sent_at IS NULL AND attempts > 0")
        begin, backlog = time.monotonic(), int(self.sql(self.url, waiting))
        until(lambda: self.sql(self.url, waiting) == "0", "every letter is taken", 120, pause=0.2)
        seconds = time.monotonic() - begin
        for name, stub in self.stubs.items():
            missing = slugs - {asked.json()["slug"] for asked in stub.asked}
            assert not missing, f"{name} never heard of {sorted(missing)[:5]}"
        return f"{len(slugs)} tenants, each told to stack and sim (the last {backlog} letters in {seconds:.1f} s)"

    def stop(self):
        self.process.stop()
        for stub in self.stubs.values():
            stub.stop()
