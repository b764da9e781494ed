"""SIGTERM: what is under way is answered, idle connections hold nobody up, the exit code is 0, 25 s are never needed."""
import http.client
import json
import os
import signal
import socket
import urllib.parse

import identity
from crash_admin import AdminCrash
from crash_load import Load
from crash_sim import SLUG, SimCrash
from crash_stack import SLUGS, StackCrash
from waiting import until
from wire import Answer

UNDER_WAY = 8
LIMIT_S = 25


class HalfSent:
    """A request of which the last byte is missing."""

    def __init__(self, url, target, headers, body):
        body = json.dumps(body).encode()
        parts, self.rest = urllib.parse.urlsplit(url), body[-1:]
        self.sock = socket.create_connection((parts.hostname, parts.port), timeout=LIMIT_S)
        lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}", "Content-Type: application/json",
                 *(f"{name}: {value}" for name, value in headers.items())]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body[:-1])

    def finish(self):
        self.sock.sendall(self.rest)
        got = b""
        while chunk := self.sock.recv(65536):
            got += chunk
        self.sock.close()
        return Answer(got)


def refuses(url):
    parts = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=1).close()
        return False
    except OSError:
        return True


def drain_one(victim, tally):
    name = victim.name
    victim.start()
    victim.prepare()
    url = victim.process.url
    idle = [http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc) for _ in range(5)]
    for connection in idle:
        connection.request("GET", "/health")
        connection.getresponse().read()
    load = Load(4, victim.ledger, victim.write)
    started = [HalfSent(url, victim.target, *victim.request(i)) for i in range(UNDER_WAY)]
    until(lambda: victim.ledger.acknowledged > 20, "the load runs")
    victim.process.process.send_signal(signal.SIGTERM)
    until(lambda: refuses(url), "nobody new comes in")
    tally.check(f"{name}: it waits for what is under way", victim.process.process.poll() is None)
    answers = [request.finish() for request in started]
    tally.check(f"{name}: what was under way is answered", [answer.status for answer in answers] == [201] * UNDER_WAY, answers)
    code = victim.process.process.wait(LIMIT_S)
    load.stop()
    tally.check(f"{name}: exit code 0", code == 0, (code, victim.process.log()))
    for answer in answers:
        if answer.status == 201:
            victim.ledger.is_now(*victim.made(answer.data))
    victim.start()
    lost = victim.lost()
    tally.check(f"{name}: nothing acknowledged is lost by stopping", not lost, lost[:5])
    code, seconds = victim.process.terminate()
    tally.check(f"{name}: with nobody there it leaves at once", code == 0 and seconds < 5, (code, seconds))
    print(f"{name}: {victim.ledger.acknowledged} acknowledged while it was told to stop; {UNDER_WAY} under way answered")


class DrainedStack(StackCrash):
    target = "/v1/stacks"

    def request(self, number):
        return self.world.headers("owner", f"org-{SLUGS[0]}", "POST", tenant=SLUGS[0]), {"name": f"drain-{number}"}

    @staticmethod
    def made(data):
        return (SLUGS[0], data["id"]), data["name"]


class DrainedSim(SimCrash):
    target = "/v1/simulations"

    def request(self, number):
        return self.world.headers("maker", SLUG, "POST", roles="member"), {"name": f"drain-{number}"}

    @staticmethod
    def made(data):
        return data["id"], data["wanted"]


class DrainedAdmin(AdminCrash):
    target = "/v1/tenants"
    database = "kombi_drain"

    def request(self, number):
        values = identity.identity(f"drain-{number}", f"org-drain-{number}")
        return identity.proven(values, "POST", "admin"), {"name": "D", "slug": f"drain-{number}"}

    @staticmethod
    def made(data):
        return ("tenant", data["slug"]), data["id"]


def drain(kind, folder, tally):
    victim = kind(folder)
    os.environ["KOMBI_SERVICE_SECRET"] = victim.process.env["KOMBI_SERVICE_SECRET"]
    try:
        drain_one(victim, tally)
    except (AssertionError, OSError) as problem:
        tally.check(f"{victim.name}: drains", False, str(problem))
    finally:
        victim.stop()


DRAINED = {"stack": DrainedStack, "sim": DrainedSim, "admin": DrainedAdmin}
