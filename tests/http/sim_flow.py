#!/usr/bin/env python3
"""sim as its users meet it: a simulation is created, started, looked into, stopped, deleted."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sim_world import SimWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import until  # noqa: E402

tally, world = Tally(), SimWorld()
check = tally.check


def ask(method, target, body=None, **more):
    return world.ask("maker", "flow", method, target, body, **{"roles": "member", **more})


def admin_tells_of_tenants():
    first = world.tenant("flow", "pro")
    check("limits of the plan", first["maxSimulations"] == 10 and first["sshPortEnd"] - first["sshPortStart"] == 24, first)
    again = world.as_service("admin", "POST", "/api/internal/tenants", {"slug": "flow", "name": "flow", "zitadelOrgId": "org-flow", "plan": "enterprise"})
    check("told again it is the same", again.status == 200 and again.data["id"] == first["id"] and again.data["maxSimulations"] == -1, again)
    taken = world.as_service("admin", "POST", "/api/internal/tenants", {"slug": "flow", "name": "x", "zitadelOrgId": "org-thief"})
    check("a slug has one organisation", taken.status == 409 and taken.code == "CONFLICT", taken)


def a_simulation_lives():
    body = {"name": "home", "description": "d", "nodes": [
        {"name": "main", "type": "main", "resources": {"cpu": 2, "memory": "2Gi", "disk": "20Gi"}}, {"name": "edge", "type": "vps", "role": "edge"}]}
    made = ask("POST", "/v1/simulations", body)
    check("made", made.status == 201 and made.data["wanted"] == "stopped" and made.data["nodesCount"] == 2, made)
    sim = f"/v1/simulations/{made.data['id']}"
    main, edge = sorted(made.data["nodes"], key=lambda node: node["name"], reverse=True)
    check("as asked", main["role"] == "main" and main["resources"] == {"cpu": 2, "memoryMb": 2048, "diskGb": 20}, main)
    check("with defaults", edge["location"] == "vps" and edge["resources"] == {"cpu": 1, "memoryMb": 1024, "diskGb": 10}, edge)
    world.wait("flow", made.data["id"], "stopped")
    for target in (f"/v1/nodes/{main['id']}/ssh", f"/v1/nodes/{main['id']}/stats"):
        check("nothing runs yet", ask("GET", target).code == "CONFLICT")
    started = ask("POST", f"{sim}/start")
    check("started", started.status == 202 and started.data["wanted"] == "running", started)
    running = world.wait("flow", made.data["id"], "running")
    check("all nodes run", running["nodesRunning"] == 2 and {node["status"] for node in running["nodes"]} == {"running"}, running)
    check("twice is told", ask("POST", f"{sim}/start").code == "ALREADY_RUNNING")
    check("addresses differ", len({node["ip"] for node in running["nodes"]}) == 2 and len({node["sshPort"] for node in running["nodes"]}) == 2, running)
    return made.data["id"], main["id"], edge["id"]


def running_nodes_are_looked_into(main, edge):
    login = ask("GET", f"/v1/nodes/{main}/ssh").data
    check("the way in", login["user"] == "root" and len(login["password"]) >= 20 and str(login["port"]) in login["connectCommand"], login)
    check("another node, another password", ask("GET", f"/v1/nodes/{edge}/ssh").data["password"] != login["password"])
    check("not for viewers", ask("GET", f"/v1/nodes/{main}/ssh", roles="viewer").status == 403)
    stats = ask("GET", f"/v1/nodes/{main}/stats").data
    check("its load", 0 <= stats["memoryUsedMb"] <= stats["memoryTotalMb"] == 2048 and 0 <= stats["cpuPercent"] <= 100, stats)


def the_log_goes_on_where_it_was(sim):
    log = ask("GET", f"/v1/simulations/{sim}/logs").data
    seqs = [event["seq"] for event in log["events"]]
    check("in order, none missing", seqs == list(range(1, len(seqs) + 1)) and log["next"] == seqs[-1], log)
    words = [event["message"] for event in log["events"]]
    check("what happened", words[0] == "Created" and words.count("Running") == 2 and "Wanted: running" in words, words)
    check("nothing new", ask("GET", f"/v1/simulations/{sim}/logs?after={log['next']}").data["events"] == [])
    check("the rest alone", ask("GET", f"/v1/simulations/{sim}/logs?after=2").data["events"] == log["events"][2:])
    for bad in ("x", "-1", "1.5", "99999999999999999999"):
        answer = ask("GET", f"/v1/simulations/{sim}/logs?after={bad}")
        check(f"?after={bad} is told", answer.status == 400 and "after" in answer.error["details"]["fields"], answer)


def nodes_come_and_go(sim):
    made = ask("POST", f"/v1/simulations/{sim}/nodes", {"name": "late"})
    check("added", made.status == 201, made)
    node = f"/v1/nodes/{made.data['id']}"
    until(lambda: ask("GET", node).data["status"] == "running", "a node of a running simulation runs")
    check("the name is taken", ask("POST", f"/v1/simulations/{sim}/nodes", {"name": "late"}).code == "CONFLICT")
    check("stopped alone", ask("POST", f"{node}/stop").status == 202)
    until(lambda: ask("GET", node).data["status"] == "stopped", "the node stops")
    check("deleted alone", ask("DELETE", node).status == 202)
    until(lambda: ask("GET", node).status == 404, "the node is gone")
    check("the others stay", ask("GET", f"/v1/simulations/{sim}").data["nodesCount"] == 2)
    check("gone for ever", ask("POST", f"{node}/start").status == 404)


def who_deletes_is_never_told_that_it_was_not_there(sim):
    """The engine may be quicker than the answer."""
    for i in range(60):
        node = ask("POST", f"/v1/simulations/{sim}/nodes", {"name": f"short-{i}", "resources": {"cpu": 0.1, "memory": "64Mi", "disk": "1Gi"}})
        gone = ask("DELETE", f"/v1/nodes/{node.data['id']}")
        check("deleted", gone.status == 202 and gone.data["id"] == node.data["id"], gone)
        until(lambda: ask("GET", f"/v1/nodes/{node.data['id']}").status == 404, "the node is gone")


def it_is_renamed_listed_stopped_and_deleted(sim):
    target = f"/v1/simulations/{sim}"
    renamed = ask("PATCH", target, {"name": "haus"})
    check("renamed", renamed.status == 200 and renamed.data["name"] == "haus" and renamed.data["description"] == "d", renamed)
    check("both spellings", ask("GET", f"/v1/simulation/{sim}").data == ask("GET", target).data)
    check("listed by status", [row["id"] for row in ask("GET", "/v1/simulations?status=running").data] == [sim])
    check("and not by another", ask("GET", "/v1/simulations?status=stopped").data == [])
    for query in ("status=asleep", "page=0", "limit=101"):
        answer = ask("GET", f"/v1/simulations?{query}")
        check(f"?{query} is told", answer.status == 400 and query.split("=")[0] in answer.error["details"]["fields"], answer)
    check("stopped", ask("POST", f"{target}/stop").status == 202)
    world.wait("flow", sim, "stopped")
    check("deleted", ask("DELETE", target).status == 202)
    world.wait("flow", sim, None)
    check("with its nodes", ask("GET", "/v1/nodes").data == [])
    check("and its log", ask("GET", f"{target}/logs").status == 404)


def templates_start_at_once():
    listed = ask("GET", "/v1/templates").data
    check("templates", len(listed) >= 5 and all(row["nodes"] for row in listed), listed)
    for row in listed[:3]:
        made = ask("POST", f"/v1/templates/{row['id']}/apply", {"autoStart": True, "simulationName": row["id"]})
        check(f"{row['id']} applied", made.status == 201 and made.data["nodesCount"] == len(row["nodes"]), made)
        world.wait("flow", made.data["id"], "running")
        check("deleted while it runs", ask("DELETE", f"/v1/simulations/{made.data['id']}").status == 202)
        world.wait("flow", made.data["id"], None)


admin_tells_of_tenants()
one, first, second = a_simulation_lives()
running_nodes_are_looked_into(first, second)
the_log_goes_on_where_it_was(one)
nodes_come_and_go(one)
who_deletes_is_never_told_that_it_was_not_there(one)
it_is_renamed_listed_stopped_and_deleted(one)
templates_start_at_once()
tally.end()
