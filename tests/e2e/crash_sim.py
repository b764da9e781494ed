"""sim killed under load: each simulation reaches what was last promised of it, none stays half way."""
import itertools
import pathlib
import secrets

from crash_load import GONE, Ledger, damaged, judge, under_load
from service_process import ServiceProcess
from sim_world import SimWorld
from waiting import until

SLUG = "alpha"
SMALL = {"cpu": 0.1, "memory": "64Mi", "disk": "1Gi"}
SETTLED = {"running", "stopped"}


class SimCrash:
    name = "sim"

    def __init__(self, folder):
        self.data = pathlib.Path(folder) / "sim-data"
        self.data.mkdir()
        self.process = ServiceProcess("sim", folder, secrets.token_hex(32), KOMBI_DATA_DIR=str(self.data), KOMBI_SSH_PORTS_A_TENANT="1000")
        self.ledger, self.numbers, self.own, self.names = Ledger(), itertools.count(), {}, {}

    def start(self):
        self.world = SimWorld(self.process.start().url, self.data)

    def prepare(self):
        self.world.tenant(SLUG, "enterprise")

    def ask(self, method, target, body=None):
        return self.world.ask("maker", SLUG, method, target, body, roles="member", plan="enterprise")

    def write(self, index, dice):
        own = self.own.setdefault(index, [])
        what = dice.choices(("create", "running", "stopped", GONE, "node"), (30, 20, 20, 20, 10))[0]
        if what == "create" and len(own) < 12:
            self.create(own, dice)
        elif what == "node" and own:
            self.add(dice.choice(own))
        elif what != "create" and own:
            self.want(own, dice.choice(own), what)

    def create(self, own, dice):
        name, start = f"s{next(self.numbers)}", dice.random() < 0.5
        self.ledger.trying(name)
        nodes = [{"name": f"n{i}", "resources": SMALL} for i in range(dice.randrange(3))]
        answer = self.ask("POST", "/v1/simulations", {"name": name, "nodes": nodes, "start": start})
        if judge(answer, self.ledger, (201,), "a creation"):
            # One without nodes has nothing to run.
            self.ledger.is_now(answer.data["id"], "running" if start else "stopped")
            own.append(answer.data["id"])

    def want(self, own, sim, state):
        self.ledger.may_become(sim, state)
        if state is GONE:
            own.remove(sim)
            answer = self.ask("DELETE", f"/v1/simulations/{sim}")
        else:
            answer = self.ask("POST", f"/v1/simulations/{sim}/{'start' if state == 'running' else 'stop'}")
            if answer.code in ("ALREADY_RUNNING", "QUOTA_EXCEEDED"):
                return
        if judge(answer, self.ledger, (202,), "a wish"):
            self.ledger.is_now(sim, state)

    def add(self, sim):
        answer = self.ask("POST", f"/v1/simulations/{sim}/nodes", {"name": f"n{next(self.numbers)}", "resources": SMALL})
        if answer.code != "QUOTA_EXCEEDED" and judge(answer, self.ledger, (201,), "a node"):
            self.ledger.promised()
            self.names[answer.data["id"]] = sim

    def crash(self):
        under_load(self.process, self.ledger, self.write)
        return damaged([self.data / "sim.db"])

    def all(self, target):
        rows, page = [], 1
        while True:
            answer = self.ask("GET", f"{target}?limit=100&page={page}")
            assert answer.status == 200, answer
            rows += answer.data
            if len(rows) >= answer.json()["meta"]["total"] or not answer.data:
                return rows
            page += 1

    def at_rest(self):
        """All simulations, once nothing is on its way any more."""
        rows = self.all("/v1/simulations")
        return rows if all(row["status"] in SETTLED and (row["status"] == row["wanted"] or row["nodesCount"] == 0) for row in rows) else None

    def lost(self):
        rows = until(lambda: (found := self.at_rest()) is not None and (found,), "every simulation comes to rest", 60)[0]
        names = {row["id"]: row["name"] for row in rows}
        wrong = self.ledger.differences({row["id"]: row["wanted"] for row in rows}, names.get)
        nodes = {row["id"]: row for row in self.all("/v1/nodes")}
        wrong += [f"node {node} is lost" for node, sim in self.names.items() if sim in names and node not in nodes]
        wrong += [f"node {row['id']} is {row['status']}, wanted {row['wanted']}" for row in nodes.values() if row["status"] != row["wanted"]]
        ports = [row["sshPort"] for row in nodes.values()]
        return wrong + ([f"ports given twice: {sorted(ports)}"] if len(set(ports)) != len(ports) else [])

    def settled(self):
        rows = self.all("/v1/simulations")
        return f"{len(rows)} simulations at rest, {sum(row['nodesRunning'] for row in rows)} nodes run"

    def stop(self):
        self.process.stop()
