#!/usr/bin/env python3
"""Realtime over raw sockets: the handshake, who is told what, replay after a reconnect, many clients, slow ones, the end."""
# captive-env: STACKKITS_URL=http://127.0.0.1:9 KOMBI_TRUSTED_PROXIES=127.0.0.1 KOMBI_KEEP_CHANGES=300
import json
import os
import selectors
import socket
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from wire import Wire  # noqa: E402

BASE = "/tenant/live"
THINGS = BASE + "/api/collections/things/records"
WORLD = StackWorld()
TALLY = Tally()
WAIT = 20


class Client:
    """An event stream, read line by line."""

    def __init__(self, lines=""):
        host, port = WORLD.wire.host.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT)
        self.socket.sendall(f"GET {BASE}/api/realtime HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{lines}\r\n".encode())
        self.raw, self.text = b"", ""
        while b"\r\n\r\n" not in self.raw:
            self.more()
        self.head, self.raw = self.raw.split(b"\r\n\r\n", 1)
        hello = self.event()
        assert hello["event"] == "PB_CONNECT", hello
        self.id, self.seq = hello["data"]["clientId"], hello["data"]["seq"]

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise EOFError
        self.raw += got

    def event(self):
        while "\n\n" not in self.text:
            if not self.chunk():
                self.more()
        block, self.text = self.text.split("\n\n", 1)
        if block.startswith(":"):
            return self.event()
        fields = dict(line.split(":", 1) for line in block.split("\n") if line)
        return {"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])}

    def chunk(self):
        """One whole chunk of the body becomes text."""
        size, found, rest = self.raw.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return False
        if int(size, 16) == 0:
            raise EOFError
        self.text += rest[:int(size, 16)].decode()
        self.raw = rest[int(size, 16) + 2:]
        return True

    def subscribe(self, *topics, token=None):
        return Wire(os.environ["KOMBI_URL"]).call("POST", BASE + "/api/realtime", {"clientId": self.id, "subscriptions": list(topics)},
                                         {"Authorization": token} if token else {})

    def close(self):
        self.socket.close()


def ask(method, path, body=None, token=None):
    return Wire(os.environ["KOMBI_URL"]).call(method, path, body, {"Authorization": token} if token else {})


def collection(name, **rules):
    open_to_all = {rule: "" for rule in ("listRule", "viewRule", "createRule", "updateRule", "deleteRule")}
    made = ask("POST", BASE + "/api/collections", {"name": name, "fields": [
        {"name": "title", "type": "text"}, {"name": "owner", "type": "text"}], **open_to_all, **rules}, ADMIN)
    assert made.status == 200, made


def create(title, name="things", **more):
    made = ask("POST", f"{BASE}/api/collections/{name}/records", {"title": title, **more})
    assert made.status == 200, made
    return made.json()["id"]


WORLD.tenant("live", "enterprise")
ADMIN = WORLD.enter("ada", "live")["token"]
MEMBER = WORLD.enter("ben", "live")
collection("things")
collection("own", listRule="owner = @request.auth.id", viewRule="owner = @request.auth.id")
collection("locked", listRule=None, viewRule=None)
collection("unlisted", listRule=None)


def handshake():
    c = Client()
    head = c.head.decode().lower()
    assert head.startswith("http/1.1 200") and "content-type: text/event-stream" in head and "cache-control: no-store" in head
    assert "x-accel-buffering: no" in head and len(c.id) == 40, head
    assert c.subscribe("things/*").status == 204
    record = create("first")
    told = c.event()
    assert told["id"] == c.id and told["event"] == "things/*", told
    assert told["data"]["action"] == "create" and told["data"]["record"]["id"] == record
    assert ask("PATCH", f"{THINGS}/{record}", {"title": "second"}).status == 200
    assert c.event()["data"]["record"]["title"] == "second"
    assert ask("DELETE", f"{THINGS}/{record}").status == 204
    told = c.event()
    assert told["data"]["action"] == "delete" and told["data"]["record"]["title"] == "second", told
    c.close()


def refusals():
    c = Client()
    unknown = ask("POST", BASE + "/api/realtime", {"clientId": "x", "subscriptions": []})
    assert unknown.status == 404 and unknown.json()["message"] == "Missing or invalid client id.", unknown
    assert ask("POST", BASE + "/api/realtime", {"subscriptions": []}).status == 400
    assert c.subscribe(*[f"t{i}" for i in range(1001)]).status == 400
    assert c.subscribe("x" * 2501).status == 400
    path, generic = BASE + "/api/realtime", "Something went wrong while processing your request."
    for body in ({"clientId": 5}, {"clientId": c.id, "subscriptions": "a"}, {"clientId": c.id, "subscriptions": {}},
                 {"clientId": c.id, "subscriptions": [1]}):
        answer = ask("POST", path, body)
        assert answer.status == 400 and answer.json()["message"] == generic and answer.json()["data"] == {}, (body, answer.json())
    for body, field, code in (({"clientId": ""}, "clientId", "validation_required"),
                              ({"clientId": "x" * 256}, "clientId", "validation_length_out_of_range"),
                              ({"clientId": c.id, "subscriptions": ["a"] * 1001}, "subscriptions", "validation_length_too_long")):
        assert ask("POST", path, body).json()["data"][field]["code"] == code, body
    long = c.subscribe("a", "x" * 2501).json()["data"]["subscriptions"]["1"]
    assert long["code"] == "validation_length_too_long" and long["params"] == {"max": 2500, "min": 0}, long
    assert c.subscribe("a\nevent:b").status == 400
    assert ask("POST", path, {"clientId": c.id, "subscriptions": None}).status == 204
    assert c.subscribe("own/*", token=MEMBER["token"]).status == 204
    assert c.subscribe("own/*", token=ADMIN).status == 403
    c.close()


def rules():
    """Each client is told what its own rules let it see."""
    guest, member, admin, one = Client(), Client(), Client(), Client()
    for c, token in ((guest, None), (member, MEMBER["token"]), (admin, ADMIN)):
        assert c.subscribe("own/*", "locked/*", "things/*", token=token).status == 204
    mine = create("mine", "own", owner=MEMBER["userId"])
    create("theirs", "own", owner="somebody")
    assert ask("POST", BASE + "/api/collections/locked/records", {"title": "l"}, ADMIN).status == 200
    create("open")
    assert [guest.event()["data"]["record"]["title"]] == ["open"]
    assert [member.event()["data"]["record"]["title"] for _ in range(2)] == ["mine", "open"]
    assert [admin.event()["data"]["record"]["title"] for _ in range(4)] == ["mine", "theirs", "l", "open"]
    assert one.subscribe(f"own/{mine}", token=MEMBER["token"]).status == 204
    assert ask("PATCH", f"{BASE}/api/collections/own/records/{mine}", {"title": "changed"}).status in (200, 404)
    for c in (guest, member, admin, one):
        c.close()


def options():
    c = Client()
    wish = urllib.parse.quote(json.dumps({"query": {"filter": "title ~ 'yes'", "fields": "title"}, "headers": {"x-a": "b"}}))
    assert c.subscribe(f"things/*?options={wish}").status == 204
    create("no")
    create("yes 1")
    told = c.event()
    assert told["event"] == f"things/*?options={wish}" and told["data"]["record"] == {"title": "yes 1"}, told
    c.close()


def addresses():
    """Behind a trusted proxy a stream belongs to the address that the proxy tells."""
    c = Client("X-Real-IP: 198.51.100.1\r\n")
    for told, status in (("198.51.100.2", 400), ("198.51.100.1", 204), (None, 400)):
        answer = Wire(os.environ["KOMBI_URL"]).call("POST", BASE + "/api/realtime", {"clientId": c.id, "subscriptions": []},
                                                    {"X-Real-IP": told} if told else {})
        assert answer.status == status, (told, answer)
    c.close()


def whole_collection():
    """Options turn the topic of a collection into no record's: its list rule holds."""
    guest, seen = Client(), Client()
    wishes = [f"unlisted?options={wish}" for wish in ('{"query":{"x":"a/b"}}', "a/b", "/")]
    assert guest.subscribe("unlisted", "unlisted/*", *wishes, "things/*").status == 204
    made = create("secret", "unlisted")
    assert seen.subscribe(f"unlisted/{made}").status == 204
    assert ask("PATCH", f"{BASE}/api/collections/unlisted/records/{made}", {"title": "told"}).status == 200
    assert seen.event()["data"]["record"]["title"] == "told"
    create("open")
    assert guest.event()["data"]["record"]["title"] == "open"
    for c in (guest, seen):
        c.close()


def head_of_a_stream():
    """HEAD of the stream is answered and over: the connection carries the next request."""
    wire = Wire(os.environ["KOMBI_URL"])
    for _ in range(2):
        answer = wire.call("HEAD", BASE + "/api/realtime")
        assert answer.status == 200 and answer.body == b"", answer


def from_another_time():
    """Numbers that this database never gave mean that everything is to be read anew."""
    now = Client()
    answer = ask("GET", f"{BASE}/api/x/changes?since={now.seq + 1000}").json()
    assert answer == {"items": [], "next": now.seq, "reset": True}, answer
    now.close()


def forgotten():
    """What is older than what is kept is told as such, never left out in silence."""
    since = Client().seq
    for i in range(600):
        create(f"many {i}")
    newest = Client().seq
    assert newest == since + 600
    answer = ask("GET", f"{BASE}/api/x/changes?since={since}").json()
    assert answer == {"items": [], "next": newest, "reset": True}, answer
    kept = ask("GET", f"{BASE}/api/x/changes?since={newest - 300}&limit=500").json()
    assert not kept["reset"] and len(kept["items"]) == 300 and kept["next"] == newest, len(kept["items"])


def replay():
    """Whatever happens between two connections is found beside the stream."""
    first = Client()
    first.subscribe("things/*")
    first.close()
    writers = [threading.Thread(target=lambda n=n: [create(f"w{n}-{i}") for i in range(25)]) for n in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    since, found = first.seq, []
    while True:
        answer = ask("GET", f"{BASE}/api/x/changes?since={since}&limit=30&collections=things").json()
        found += [item["record"]["title"] for item in answer["items"]]
        assert not answer["reset"]
        if answer["next"] == since:
            break
        since = answer["next"]
    assert sorted(found) == sorted(f"w{n}-{i}" for n in range(4) for i in range(25)), len(found)
    gone = create("gone")
    ask("DELETE", f"{THINGS}/{gone}")
    answer = ask("GET", f"{BASE}/api/x/changes?since={since}").json()
    assert [item.get("id") for item in answer["items"]] == [gone, gone] and answer["items"][1]["action"] == "delete", answer
    create("hidden", "own", owner="somebody")
    assert ask("GET", f"{BASE}/api/x/changes?since={answer['next']}").json()["items"] == []
    assert Client().seq > answer["next"]


def fan_out():
    """Many clients are told, and one that does not read holds nobody up."""
    clients = [Client() for _ in range(500)]
    lazy = Client()
    for c in [*clients, lazy]:
        assert c.subscribe("things/*").status == 204
    for i in range(5):
        create("x" * 2000 + str(i))
    selector, counts = selectors.DefaultSelector(), {}
    for c in clients:
        counts[c] = c.raw.count(b"event:things")
        selector.register(c.socket, selectors.EVENT_READ, c)
    end = time.monotonic() + WAIT
    while any(n < 5 for n in counts.values()) and time.monotonic() < end:
        for key, _ in selector.select(1):
            counts[key.data] += key.fileobj.recv(1 << 20).count(b"event:things")
    assert all(n == 5 for n in counts.values()), sorted(counts.values())[:5]
    for c in [*clients, lazy]:
        c.close()


def suspended():
    """A tenant that is suspended has no clients any more."""
    c = Client()
    c.subscribe("things/*")
    WORLD.set_status("live", "suspended")
    try:
        c.event()
        raise AssertionError("the stream goes on")
    except EOFError:
        pass
    finally:
        WORLD.set_status("live", "active")


for check in (handshake, refusals, rules, options, addresses, whole_collection, head_of_a_stream, replay, from_another_time, forgotten, fan_out, suspended):
    try:
        check()
        TALLY.check(check.__doc__ or check.__name__, True)
    except Exception as problem:  # noqa: BLE001: the others are still run
        TALLY.check(check.__doc__ or check.__name__, False, f"{type(problem).__name__}: {problem}")
TALLY.end()
