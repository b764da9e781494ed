#!/usr/bin/env python3
"""admin over HTTP: tenants, who finds them, and the letters that stack and sim get until they take them."""
import os
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import identity  # noqa: E402
from service_process import ServiceProcess  # noqa: E402
from stub import Stub  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import until  # noqa: E402
from wire import Wire  # noqa: E402

DATABASE = "kombi_flow"
tally = Tally()
check = tally.check


class Receiver:
    """A stub service: refuses the first letters about each slug with the statuses that the test planned."""

    def __init__(self, name):
        self.name, self.plan, self.lock, self.false = name, {}, threading.Lock(), []
        self.stub = Stub(self.answer)

    def answer(self, asked):
        try:
            identity.read_token(asked.headers["Authorization"], "admin", self.name)
        except AssertionError as problem:
            self.false.append(str(problem))
            return 401, {}
        with self.lock:
            planned = self.plan.get(asked.json()["slug"], [])
            return (planned.pop(0) if planned else 201), {}

    def letters(self, slug):
        return [asked for asked in self.stub.asked if asked.json().get("slug") == slug]


class Admin:
    def __init__(self, url):
        self.wire = Wire(url)

    def user(self, method, target, body=None, user="u1", org="org-1", **more):
        headers = identity.proven(identity.identity(user, org, **more), method, "admin")
        return self.wire.call(method, target, body, headers)

    def operator(self, method, target, body=None):
        return self.user(method, target, body, user="op", org="org-op", roles="kombisphere_admin")

    def service(self, name, method, target, body=None):
        return self.wire.call(method, target, body, identity.bearer(name, "admin"))


def a_user_creates_the_tenant_of_the_organisation(admin):
    made = admin.user("POST", "/v1/tenants", {"slug": "acme", "name": "Acme"}, plan="pro", email="a%40example.org", name="A")
    check("created", made.status == 201 and made.data["orgId"] == "org-1" and made.data["plan"] == "PRO" and made.data["maxUsers"] == 10, made)
    listed = admin.user("GET", "/v1/tenants")
    check("listed", [row["id"] for row in listed.data] == [made.data["id"]], listed)
    check("not for others", admin.user("GET", "/v1/tenants", org="org-2").data == [])
    check("one each", admin.user("POST", "/v1/tenants", {"slug": "acme-2", "name": "x"}).status == 409)
    taken = admin.user("POST", "/v1/tenants", {"slug": "acme", "name": "x"}, org="org-2")
    check("a slug once", taken.status == 409 and "acme" in taken.error["message"], taken)
    check("reserved", admin.user("POST", "/v1/tenants", {"slug": "admin", "name": "x"}, org="org-2").status == 400)
    check("no organisation, no tenant", admin.user("POST", "/v1/tenants", {"slug": "none", "name": "x"}, org="").status == 403)
    return made.data


def services_find_it(admin, tenant, stack):
    by_org = admin.service("gateway", "GET", "/api/internal/tenants/by-org/org-1")
    check("by organisation", [row["slug"] for row in by_org.data] == ["acme"], by_org)
    check("where it lives", by_org.data[0]["instance"]["internalEndpoint"] == stack.stub.url, by_org)
    check("by slug", admin.service("stack", "GET", "/api/internal/tenants/acme").data["id"] == tenant["id"])
    check("nobody's", admin.service("gateway", "GET", "/api/internal/tenants/by-org/org-none").data == [])
    user = admin.service("cloud", "GET", "/api/internal/users/u1")
    check("its creator", user.json()["tenantId"] == tenant["id"] and user.json()["isHomelabAdmin"] and user.json()["email"] == "a@example.org", user)
    check("the creator's tenants", [row["slug"] for row in admin.service("cloud", "GET", "/api/internal/users/u1/tenants").data] == ["acme"])


def users_are_told_by_services(admin):
    made = admin.service("cloud", "POST", "/api/internal/users", {"sub": "s1", "email": "s@example.org", "name": "S"})
    check("made", made.status == 201 and made.json()["displayName"] == "S", made)
    again = admin.service("stack", "POST", "/api/internal/users", {"sub": "s1", "name": "T"})
    check("brought up to date", again.status == 200 and again.json()["displayName"] == "T" and again.json()["email"] == "s@example.org", again)
    listed = admin.operator("GET", "/v1/admin/users?limit=1&page=2")
    check("paged", listed.status == 200 and len(listed.data) == 1 and listed.json()["meta"]["page"] == 2, listed)


def letters_reach_stack_and_sim(admin, tenant, receivers):
    for receiver in receivers:
        until(lambda: receiver.letters("acme"), f"{receiver.name} is told of acme")
        letter = receiver.letters("acme")[0]
        check(f"{receiver.name}'s letter", (letter.method, letter.path) == ("POST", "/api/internal/tenants"), letter.path)
        body = letter.json()
        check(f"{receiver.name} knows it", body["id"] == tenant["id"] and body["zitadelOrgId"] == "org-1" and body["plan"] == "pro", body)
        check(f"{receiver.name}'s tokens are good", receiver.false == [], receiver.false)
    until(lambda: admin.service("gateway", "GET", "/api/internal/tenants/acme").data["provisioned"], "acme is provisioned")
    check("provisioned when stack took it", True)


def letters_are_repeated_until_they_are_taken(admin, receivers):
    """503 from one, 500 from the other; each takes the second or third."""
    stack, sim = receivers
    stack.plan["stubborn"], sim.plan["stubborn"] = [503, 502], [500]
    made = admin.user("POST", "/v1/tenants", {"slug": "stubborn", "name": "S"}, org="org-3", user="u3")
    check("created all the same", made.status == 201 and made.data["provisioned"] is False, made)
    until(lambda: len(stack.letters("stubborn")) >= 1, "the first letter")
    check("not provisioned yet", admin.service("gateway", "GET", "/api/internal/tenants/stubborn").data["provisioned"] is False)
    until(lambda: len(stack.letters("stubborn")) == 3 and len(sim.letters("stubborn")) == 2, "repeated until taken", 25)
    until(lambda: admin.service("gateway", "GET", "/api/internal/tenants/stubborn").data["provisioned"], "provisioned in the end")
    for receiver in receivers:
        letters = receiver.letters("stubborn")
        check(f"{receiver.name}: the same letter", len({(letter.body, letter.headers["X-Request-ID"]) for letter in letters}) == 1)
        check(f"{receiver.name}: a token of its own each time", len({letter.headers["Authorization"] for letter in letters}) == len(letters))


def a_letter_that_is_wrong_is_not_repeated(admin, receivers):
    stack, _ = receivers
    stack.plan["wrong"] = [400, 400, 400]
    admin.user("POST", "/v1/tenants", {"slug": "wrong", "name": "W"}, org="org-4", user="u4")
    until(lambda: stack.letters("wrong"), "the letter comes")
    # Others come after it: the sender has been at work since.
    stack.plan["stubborn-2"] = [503]
    admin.user("POST", "/v1/tenants", {"slug": "stubborn-2", "name": "S"}, org="org-5", user="u5")
    until(lambda: len(stack.letters("stubborn-2")) == 2, "the sender goes on", 25)
    check("not repeated", len(stack.letters("wrong")) == 1, len(stack.letters("wrong")))
    check("and not provisioned", admin.service("gateway", "GET", "/api/internal/tenants/wrong").data["provisioned"] is False)


def operators_place_tenants(admin):
    new = {"name": "far", "region": "eu-1", "internalEndpoint": "http://127.0.0.1:9", "maxTenants": 2}
    made = admin.operator("POST", "/v1/admin/instances", new)
    check("an instance", made.status == 201 and made.data["health"] == "UNKNOWN" and made.data["currentTenants"] == 0, made)
    check("its name once", admin.operator("POST", "/v1/admin/instances", new).status == 409)
    report = {"instanceId": made.data["id"], "timestamp": "2026-01-01T00:00:00Z", "status": "unhealthy", "metrics": {"cpuPercent": 12.5}}
    check("it reports", admin.service("stack", "POST", "/api/internal/instances/health", report).status == 202)
    history = admin.operator("GET", f"/v1/admin/instances/{made.data['id']}/health").data
    changes = admin.service("gateway", "GET", "/api/internal/tenant-changes").data
    check("the time to ask from, and nothing yet", changes["tenants"] == [] and changes["now"] > 1.7e12, changes)
    check("its history", len(history) == 1 and history[0]["status"] == "UNHEALTHY" and history[0]["cpuPercent"] == 12.5, history)
    placed = admin.operator("POST", "/v1/admin/tenants", {"slug": "placed", "name": "P", "orgId": "org-6", "plan": "enterprise"})
    check("an unhealthy one gets no tenant", placed.status == 201 and placed.data["instanceId"] != made.data["id"], placed)
    told = admin.service("gateway", "GET", f"/api/internal/tenant-changes?since={changes['now'] - 1}").data
    check("the gateway hears of it", {"slug": "placed", "orgId": "org-6"} in told["tenants"] and told["all"] is False, told)
    where = admin.service("gateway", "GET", "/api/internal/tenants/placed").data["instance"]
    check("and of its instance", where["status"] == "ACTIVE" and where["health"] in ("UNKNOWN", "HEALTHY"), where)
    report = {"instanceId": where["id"], "timestamp": "2026-01-02T00:00:00Z", "status": "unhealthy"}
    admin.service("stack", "POST", "/api/internal/instances/health", report)
    after = admin.service("gateway", "GET", f"/api/internal/tenant-changes?since={told['now']}").data
    check("another health is a change", "placed" in [row["slug"] for row in after["tenants"]], after)
    report["timestamp"] = "2026-01-02T00:00:01Z"
    admin.service("stack", "POST", "/api/internal/instances/health", report)
    check("the same one again is none", admin.service("gateway", "GET", f"/api/internal/tenant-changes?since={after['now']}").data["tenants"] == [])
    report.update(timestamp="2026-01-02T00:00:02Z", status="healthy")
    admin.service("stack", "POST", "/api/internal/instances/health", report)
    check("since is a number", admin.service("gateway", "GET", "/api/internal/tenant-changes?since=x").status == 400)
    check("limits of the plan", placed.data["maxUsers"] == -1 and placed.data["maxNodes"] == 50, placed)
    check("plain admins of organisations are none", admin.user("GET", "/v1/admin/tenants", roles="admin").status == 403)


def the_catalog_is_public(admin):
    tools = admin.wire.call("GET", "/v1/catalog/public?limit=3")
    check("tools", tools.status == 200 and len(tools.data) == min(3, tools.json()["meta"]["total"]), tools)
    check("categories", admin.wire.call("GET", "/v1/catalog/categories").status == 200)
    check("?q= is no pattern", admin.wire.call("GET", "/v1/catalog/public?q=%25").json()["meta"]["total"] == 0)
    check("nor a statement", admin.wire.call("GET", "/v1/catalog/public?q=%27%20OR%201=1--").json()["meta"]["total"] == 0)


def own_database(url):
    """The service that runs this test has the database to itself; ours is another one."""
    subprocess.run(["psql", "-qXd", url, "-c", f"CREATE DATABASE {DATABASE}"], check=True)
    head, _, tail = url.rpartition("/")
    return f"{head}/{DATABASE}" + ("?" + tail.split("?", 1)[1] if "?" in tail else "")


def main():
    with open(os.environ["DATABASE_URL_FILE"], encoding="utf-8") as file:
        url = own_database(file.read().strip())
    receivers = Receiver("stack"), Receiver("sim")
    with tempfile.TemporaryDirectory() as folder:
        ports = {f"{receiver.name.upper()}_SERVICE_PORT": str(receiver.stub.port) for receiver in receivers}
        process = ServiceProcess("admin", folder, identity.root_secret().decode(), DATABASE_URL=url, **ports)
        try:
            admin = Admin(process.start().url)
            tenant = a_user_creates_the_tenant_of_the_organisation(admin)
            services_find_it(admin, tenant, receivers[0])
            letters_reach_stack_and_sim(admin, tenant, receivers)
            users_are_told_by_services(admin)
            operators_place_tenants(admin)
            the_catalog_is_public(admin)
            letters_are_repeated_until_they_are_taken(admin, receivers)
            a_letter_that_is_wrong_is_not_repeated(admin, receivers)
        finally:
            process.stop()
    tally.end()


main()
