"""stack killed under load: stacks, jobs, members and tenants that were acknowledged are there, what was deleted is gone."""
import itertools
import pathlib
import secrets
import time

from crash_load import GONE, Ledger, damaged, judge, under_load
from service_process import ServiceProcess
from stack_world import StackWorld
from stub import Stub
from waiting import until

SLUGS = ("alpha", "beta")


class StackCrash:
    name = "stack"

    def __init__(self, folder):
        self.data = pathlib.Path(folder) / "stack-data"
        self.data.mkdir()
        self.kits = Stub(self.verdict)
        self.process = ServiceProcess("stack", folder, secrets.token_hex(32), KOMBI_DATA_DIR=str(self.data), STACKKITS_URL=self.kits.url,
                                      KOMBI_MAX_TENANTS="10000")
        self.ledger, self.jobs, self.members = Ledger(), {}, {}
        self.numbers, self.own = itertools.count(), {}

    @staticmethod
    def verdict(_):
        time.sleep(0.005)  # a kit takes its time: jobs are under way when the crash comes
        return 200, {"valid": True, "errors": []}

    def start(self):
        self.world = StackWorld(self.process.start().url, self.data)

    def prepare(self):
        for slug in SLUGS:
            self.world.tenant(slug, "enterprise", maxStacks=-1)
            self.world.enter("owner", slug)

    def ask(self, slug, method, target, body=None):
        return self.world.ask("owner", f"org-{slug}", method, target, body, tenant=slug)

    # -- the writers

    def write(self, index, dice):
        slug, own = SLUGS[index % 2], self.own.setdefault(index, [])
        what = dice.choices((self.create, self.rename, self.delete, self.validate, self.enter, self.tenant), (40, 25, 10, 8, 10, 3))[0]
        if own or what not in (self.rename, self.delete, self.validate):
            what(slug, own, dice)

    def create(self, slug, own, _):
        name = f"s{next(self.numbers)}"
        self.ledger.trying(name)
        answer = self.ask(slug, "POST", "/v1/stacks", {"name": name, "spec": f"name: {name}\n"})
        if judge(answer, self.ledger, (201,), "a creation"):
            self.ledger.is_now((slug, answer.data["id"]), name)
            own.append(answer.data["id"])

    def rename(self, slug, own, dice):
        key, name = (slug, dice.choice(own)), f"r{next(self.numbers)}"
        self.ledger.may_become(key, name)
        if judge(self.ask(slug, "PATCH", f"/v1/stacks/{key[1]}", {"name": name}), self.ledger, (200,), "a change"):
            self.ledger.is_now(key, name)

    def delete(self, slug, own, dice):
        key = slug, own.pop(dice.randrange(len(own)))
        self.ledger.may_become(key, GONE)
        if judge(self.ask(slug, "DELETE", f"/v1/stacks/{key[1]}"), self.ledger, (204,), "a deletion"):
            self.ledger.is_now(key, GONE)

    def validate(self, slug, own, dice):
        answer = self.ask(slug, "POST", f"/v1/stacks/{dice.choice(own)}/validate")
        if judge(answer, self.ledger, (202,), "a job"):
            self.jobs[slug, answer.data["jobId"]] = True
            self.ledger.promised()

    def enter(self, slug, _own, _dice):
        user = f"user-{next(self.numbers)}"
        answer = self.world.ask(user, f"org-{slug}", "POST", "/api/internal/sso/exchange")
        if judge(answer, self.ledger, (200,), "an exchange"):
            self.members[slug, answer.json()["userId"]] = answer.json()["role"]
            self.ledger.promised()

    def tenant(self, _slug, _own, _dice):
        slug = f"t{next(self.numbers)}"
        answer = self.world.as_service("admin", "POST", "/api/internal/tenants", {"slug": slug, "name": slug, "zitadelOrgId": f"org-{slug}"})
        if judge(answer, self.ledger, (201,), "a tenant"):
            self.ledger.is_now(("tenant", slug), answer.data["id"])

    # -- one round

    def crash(self):
        under_load(self.process, self.ledger, self.write)
        return damaged([self.data / "platform.db", *self.data.glob("tenants/*/data.db")])

    def all(self, slug, target):
        rows, page = [], 1
        while True:
            answer = self.ask(slug, "GET", f"{target}{'&' if '?' in target else '?'}limit=100&page={page}")
            assert answer.status == 200, answer
            rows += answer.data
            if len(rows) >= answer.json()["meta"]["total"] or not answer.data:
                return rows
            page += 1

    def lost(self):
        """Everything that was ever promised, compared."""
        stacks = {(slug, row["id"]): row["name"] for slug in SLUGS for row in self.all(slug, "/v1/stacks")}
        tenants = {key: (self.world.as_service("admin", "GET", f"/api/internal/tenants/{key[1]}").data or {}).get("id")
                   for key in self.ledger.states if key[0] == "tenant"}
        wrong = self.ledger.differences(stacks | tenants, lambda key: stacks.get(key))
        jobs = {(slug, row["id"]) for slug in SLUGS for row in self.all(slug, "/v1/jobs")}
        wrong += [f"job {key} is lost" for key in self.jobs if key not in jobs]
        members = {(slug, row["id"]): row["role"] for slug in SLUGS for row in self.all(slug, "/v1/tenant/members")}
        return wrong + [f"member {key} is {members.get(key)}" for key, role in self.members.items() if members.get(key) != role]

    def settled(self):
        """Every job comes to an end, and no end is unexplained."""
        def ended():
            jobs = [row for slug in SLUGS for row in self.all(slug, "/v1/jobs")]
            return jobs if not {row["status"] for row in jobs} & {"pending", "running"} else None

        jobs = until(ended, "every job ends", 90)
        strange = [row for row in jobs if row["status"] == "failed" and "deleted" not in row["error"] and "used up" not in row["error"]]
        assert not strange, f"jobs that failed without a reason: {strange[:3]}"
        states = [row["status"] for row in jobs]
        return f"{len(states)} jobs: " + ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))

    def stop(self):
        self.process.stop()
        self.kits.stop()
