#!/usr/bin/env python3
"""Quotas of sim hold over HTTP however many ask at one moment: exactly what is left is given."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sim_world import SimWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import at_once  # noqa: E402

MANY = 30
SMALL = {"cpu": 0.1, "memory": "64Mi", "disk": "1Gi"}
tally, world = Tally(), SimWorld()


def all_at_once(what, slug, call, status, wanted, resource):
    answers = at_once(MANY, lambda i: world.ask("maker", slug, *call(i), roles="member"))
    good = [answer for answer in answers if answer.status == status]
    tally.check(f"{what}: exactly {wanted} of {MANY}", len(good) == wanted, [answer.status for answer in answers])
    for answer in answers:
        details = answer.error.get("details", {})
        tally.check(f"{what}: the others are refused", answer.status == status or
                    (answer.status, answer.code, details.get("resource")) == (403, "QUOTA_EXCEEDED", resource), answer)
    return good


def total(slug, target):
    return world.ask("maker", slug, "GET", f"{target}?limit=100").json()["meta"]["total"]


def simulations_stop_at_the_limit():
    world.tenant("sims", "free")
    world.simulation("sims", "one")
    all_at_once("simulations", "sims", lambda i: ("POST", "/v1/simulations", {"name": f"s{i}"}), 201, 2, "simulations")
    tally.check("3 are there", total("sims", "/v1/simulations") == 3, total("sims", "/v1/simulations"))


def templates_count_as_well():
    world.tenant("templates", "free")
    all_at_once("templates", "templates", lambda _: ("POST", "/v1/templates/single-node/apply", {}), 201, 3, "simulations")


def nodes_stop_at_the_limit():
    world.tenant("nodes", "free")
    sim = world.simulation("nodes", "a", "b")["id"]
    all_at_once("nodes", "nodes", lambda i: ("POST", f"/v1/simulations/{sim}/nodes", {"name": f"n{i}", "resources": SMALL}), 201, 3, "nodes")
    tally.check("5 are there", total("nodes", f"/v1/simulations/{sim}/nodes") == 5)


def a_name_is_given_once():
    world.tenant("names", "enterprise")
    sim = world.simulation("names")["id"]
    answers = at_once(MANY, lambda _: world.ask("maker", "names", "POST", f"/v1/simulations/{sim}/nodes", {"name": "same"}, roles="member"))
    tally.check("one node", sorted(answer.status for answer in answers) == [201] + [409] * (MANY - 1), [answer.status for answer in answers])


def processors_stop_at_the_limit():
    """16 processors of pro, 3 a node: five of ten may run."""
    world.tenant("cpus", "pro")
    sim = world.simulation("cpus")["id"]
    nodes = [world.ask("maker", "cpus", "POST", f"/v1/simulations/{sim}/nodes", {"name": f"n{i}", "resources": {**SMALL, "cpu": 3}}, roles="member").data["id"]
             for i in range(10)]
    answers = at_once(MANY, lambda i: world.ask("maker", "cpus", "POST", f"/v1/nodes/{nodes[i % 10]}/start", roles="member"))
    started = {answer.data["id"] for answer in answers if answer.status == 202}
    tally.check("exactly 5 are wanted", len(started) == 5, [answer.status for answer in answers])
    for answer in answers:
        tally.check("the others are refused", answer.status == 202 or answer.code in ("QUOTA_EXCEEDED", "ALREADY_RUNNING"), answer)
    listed = world.ask("maker", "cpus", "GET", "/v1/nodes?limit=100").data
    tally.check("and stay", {node["id"] for node in listed if node["wanted"] == "running"} == started, listed)


def ports_are_given_once():
    """A tenant has 25; each node one of its own."""
    world.tenant("ports", "enterprise")
    made = all_at_once("ports", "ports", lambda i: ("POST", "/v1/simulations", {"name": f"s{i}", "nodes": [{"name": "n", "resources": SMALL}]}),
                       201, 25, "sshPorts")
    ports = [answer.data["nodes"][0]["sshPort"] for answer in made]
    tally.check("no port twice", len(set(ports)) == len(ports) == 25, sorted(ports))
    tally.check("nothing half made", total("ports", "/v1/simulations") == total("ports", "/v1/nodes") == 25)


def one_organisation_at_once_is_one_tenant():
    answers = at_once(MANY, lambda i: world.ask(f"u{i}", "fresh", "GET", "/v1/simulations"))
    tally.check("all get in", {answer.status for answer in answers} == {200}, [answer.status for answer in answers])


for case in (simulations_stop_at_the_limit, templates_count_as_well, nodes_stop_at_the_limit, a_name_is_given_once, processors_stop_at_the_limit,
             ports_are_given_once, one_organisation_at_once_is_one_tenant):
    case()
tally.end()
