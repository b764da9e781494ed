#!/usr/bin/env python3
"""Files of records: forms with files, what is kept and what is refused, how they are served and to whom, what is left
on the disk after changes, refusals and torn uploads.

Run by: tests/support/captive stack $PWD/tests/http/stack_files.py
"""
import hashlib
import http.client
import json
import os
import pathlib
import socket
import sqlite3
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support")]

import identity  # noqa: E402
from service_process import ServiceProcess  # noqa: E402
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import until  # noqa: E402

URL = os.environ["KOMBI_URL"]
FOLDER = pathlib.Path(os.environ["KOMBI_DATA_DIR"]) / "tenants" / "acme"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
tally, world = Tally(), StackWorld()
world.tenant("acme", "free")
world.tenant("other", "free")
ADMIN = world.enter("ada", "acme")["token"]
MEMBER = world.enter("ben", "acme")["token"]
STRANGER = world.enter("eve", "other")["token"]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body) if self.body else {}

    def __str__(self):
        return f"{self.status} {self.body[:300]}"


def send(method, path, body=None, who=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if who:
        headers["Authorization"] = who
    request = urllib.request.Request(URL + path, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def api(method, path, body=None, who=ADMIN):
    return send(method, "/tenant/acme/api" + path, json.dumps(body).encode() if body is not None else None, who,
                Content_Type="application/json")


def form(*parts):
    """(name, value) or (name, filename, bytes)."""
    out = b""
    for part in parts:
        out += b"--b0undary\r\nContent-Disposition: form-data; name=\"" + part[0].encode() + b'"'
        if len(part) == 3:
            out += b'; filename="' + part[1].encode() + b'"\r\nContent-Type: application/octet-stream'
        value = part[-1] if isinstance(part[-1], bytes) else part[-1].encode()
        out += b"\r\n\r\n" + value + b"\r\n"
    return out + b"--b0undary--\r\n"


def upload(path, *parts, method="POST", who=ADMIN):
    return send(method, "/tenant/acme/api" + path, form(*parts), who,
                Content_Type="multipart/form-data; boundary=b0undary")


def expect(what, answer, status):
    tally.check(what, answer.status == status, answer)
    try:
        return answer.json()
    except ValueError:
        return {}


def code_of(answer, field):
    return answer.json().get("data", {}).get(field, {}).get("code")


def stored():
    return sorted(str(p.relative_to(FOLDER / "storage")) for p in (FOLDER / "storage").rglob("*") if p.is_file())


def used():
    with sqlite3.connect(f"file:{FOLDER / 'data.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT used FROM _kombi_storage").fetchone()[0]


def get(record, name, query="", **headers):
    return send("GET", f"/tenant/acme/api/files/docs/{record['id']}/{name}{query}", None, None, **headers)


def values_of_forms():
    made = expect("a form is a record", upload("/collections/docs/records", ("title", "007"), ("count", "12"),
                  ("tags", "a"), ("tags", "b"), ("@jsonPayload", '{"flag":true,"title":"x"}')), 200)
    tally.check("with the values it says", (made["title"], made["count"], made["tags"], made["flag"]) ==
                ("x", 12, ["a", "b"], True), made)
    made = expect("a plain form too", send("POST", "/tenant/acme/api/collections/docs/records",
                  b"title=a+b%21&count=3&flag=true", ADMIN, Content_Type="application/x-www-form-urlencoded"), 200)
    tally.check("with its values", (made["title"], made["count"], made["flag"]) == ("a b!", 3, True), made)
    for bad in (b"", b"--b0undary", form(("title", "x"))[:-6], b"--b0undary\r\n\r\nx\r\n--b0undary--\r\n"):
        expect("a torn form is refused", send("POST", "/tenant/acme/api/collections/docs/records", bad, ADMIN,
               Content_Type="multipart/form-data; boundary=b0undary"), 400)
    expect("so is a form without a boundary", send("POST", "/tenant/acme/api/collections/docs/records",
           form(("title", "x")), ADMIN, Content_Type="multipart/form-data"), 400)


def the_life_of_files():
    before = used()
    made = expect("a record with files", upload("/collections/docs/records", ("title", "t"), ("cover", "My Photo.PNG", PNG),
                  ("files", "a.txt", b"one"), ("files", "../../b.txt", b"two")), 200)
    cover, files = made["cover"], made["files"]
    tally.check("its names are ours", cover.startswith("my_photo_") and cover.endswith(".PNG") and len(files) == 2, made)
    tally.check("of no path", all("/" not in name and ".." not in name for name in files), files)
    tally.check("they are on the disk", len([p for p in stored() if made["id"] in p]) == 3, stored())
    tally.check("and counted", used() - before == len(PNG) + 6, used())
    tally.check("as they came", get(made, cover).body == PNG)
    one = f"/collections/docs/records/{made['id']}"
    made = expect("one more", upload(one, ("files+", "c.txt", b"three"), method="PATCH"), 200)
    tally.check("comes last", len(made["files"]) == 3 and made["files"][:2] == files, made)
    made = expect("one in front", upload(one, ("+files", "d.txt", b"four"), method="PATCH"), 200)
    tally.check("comes first", made["files"][1:3] == files and get(made, made["files"][0]).body == b"four", made)
    gone = made["files"][1]
    made = expect("one goes", api("PATCH", one, {"files-": gone}), 200)
    tally.check("also from the disk", len(made["files"]) == 3 and get(made, gone).status == 404 and
                not any(gone in p for p in stored()))
    answer = api("PATCH", one, {"files": ["made_up.txt"]})
    tally.check("a name alone is no file", code_of(answer, "files") == "validation_invalid_file", answer)
    made = expect("a new cover", upload(one, ("cover", "x.png", PNG + b"2"), method="PATCH"), 200)
    tally.check("takes the old one's place", get(made, cover).status == 404 and get(made, made["cover"]).body[-1:] == b"2")
    expect("an empty file is one", upload(one, ("files", "e.txt", b""), method="PATCH"), 200)
    expect("the record goes", api("DELETE", one), 204)
    tally.check("with its files", not any(made["id"] in p for p in stored()) and used() == before, stored())


def what_a_field_refuses():
    left = stored()
    answer = upload("/collections/docs/records", ("small", "a.bin", b"x" * 101))
    tally.check("too large", code_of(answer, "small") == "validation_file_size_limit", answer)
    answer = upload("/collections/docs/records", ("cover", "a.png", b"<html>"))
    tally.check("of another type", code_of(answer, "cover") == "validation_invalid_mime_type", answer)
    answer = upload("/collections/docs/records", *[("files", f"{i}.txt", b"x") for i in range(6)])
    tally.check("too many", code_of(answer, "files") == "validation_too_many_files", answer)
    answer = upload("/collections/docs/records", ("title", "y" * 6000), ("files", "a.txt", b"x"))
    tally.check("a bad neighbour", answer.status == 400, answer)
    tally.check("nothing is left of refused ones", stored() == left, stored())


def how_they_are_served():
    made = upload("/collections/docs/records", ("cover", "a.png", PNG), ("files", "x.svg", b"<svg onload=alert(1)>"),
                  ("files", "x.html", b"<html><script>")).json()
    answer = get(made, made["cover"])
    head = answer.headers
    tally.check("an image is shown", head["Content-Type"] == "image/png" and
                head["Content-Disposition"] == f"inline; filename={made['cover']}", head)
    tally.check("in a sandbox", "sandbox" in head["Content-Security-Policy"] and
                head.get_all("Content-Security-Policy") == [head["Content-Security-Policy"]], head)
    tally.check("kept for a month", head["Cache-Control"] == "max-age=2592000, stale-while-revalidate=86400", head)
    tally.check("not guessed at", head["X-Content-Type-Options"] == "nosniff", head)
    for name in made["files"]:
        answer = get(made, name)
        tally.check("markup is no page of ours", answer.headers["Content-Disposition"].startswith("attachment"), name)
    tally.check("a download where asked", get(made, made["cover"], "?download=1").headers["Content-Disposition"]
                .startswith("attachment"))
    part = get(made, made["cover"], Range="bytes=1-3")
    tally.check("a part", part.status == 206 and part.body == b"PNG", part)
    same = get(made, made["cover"], If_None_Match=head["ETag"])
    tally.check("unchanged", same.status == 304 and same.body == b"", same)
    for name in ("..%2f..%2fdata.db", "%2e%2e", "nope.png", made["cover"] + "%00", ".", "data.db"):
        tally.check("no way out", get(made, name).status in (400, 404), name)
    tally.check("nor in another tenant", send("GET", f"/tenant/other/api/files/docs/{made['id']}/{made['cover']}",
                None, STRANGER).status == 404)
    cover = send("GET", f"/api/files/docs_acme/{made['id']}/{made['cover']}")
    tally.check("at the root's address too", cover.body == PNG, cover)


def protected():
    made = upload("/collections/docs/records", ("secret", "s.txt", b"secret"), who=ADMIN).json()
    name = made["secret"]
    token = lambda who: urllib.parse.quote(api("POST", "/files/token", {}, who).json().get("token", ""))  # noqa: E731
    tally.check("not without a token", get(made, name).status == 404)
    tally.check("a session is no ticket", get(made, name, Authorization=ADMIN).status == 404)
    tally.check("nor a session's token", get(made, name, "?token=" + ADMIN).status == 404)
    tally.check("with one", get(made, name, "?token=" + token(ADMIN)).body == b"secret")
    tally.check("by the view rule", get(made, name, "?token=" + token(MEMBER)).status == 404)
    theirs = send("POST", "/tenant/other/api/files/token", b"{}", STRANGER, Content_Type="application/json").json()
    tally.check("not another tenant's", get(made, name, "?token=" + theirs.get("token", "")).status == 404)


def peak():
    """Most memory that the service has had, KiB; None when it is not our parent."""
    folder = pathlib.Path(f"/proc/{os.getppid()}")
    if (folder / "comm").read_text().strip() != "stack":
        return None
    lines = (folder / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def large_and_torn():
    data = os.urandom(1 << 20) * 20
    made = expect("twenty mebibytes", upload("/collections/docs/records", ("large", "big.bin", data)), 200)
    tally.check("come back as they went", hashlib.sha256(get(made, made["large"]).body).digest() ==
                hashlib.sha256(data).digest())
    before, huge = peak(), os.urandom(1 << 20) * 96
    made = expect("nearly a hundred", upload("/collections/docs/records", ("large", "huge.bin", huge)), 200)
    tally.check("too", get(made, made["large"]).body == huge)
    tally.check("in little memory", before is None or peak() - before < 48 << 10, (before, peak()))
    left, room = stored(), used()
    where = urllib.parse.urlparse(URL)
    body = form(("large", "torn.bin", data))
    with socket.create_connection((where.hostname, where.port)) as s:
        s.sendall(f"POST /tenant/acme/api/collections/docs/records HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: "
                  f"{ADMIN}\r\nContent-Type: multipart/form-data; boundary=b0undary\r\nContent-Length: {len(body)}"
                  "\r\n\r\n".encode() + body[:3 << 20])
    expect("the API answers after a torn upload", api("GET", "/collections/docs/records"), 200)
    tally.check("which leaves nothing", stored() == left and used() == room, stored())


def the_quota_is_exact():
    """Thirty at once, room for ten."""
    free, size = 10_000_000_000, 1000
    with sqlite3.connect(FOLDER / "data.db", timeout=20) as db:
        before = used()
        db.execute("UPDATE _kombi_storage SET used = ?", (free - 10 * size,))
    answers = []

    def work():
        answers.append(upload("/collections/docs/records", ("files", "q.txt", b"q" * size)))

    threads = [threading.Thread(target=work) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by = [a.status for a in answers]
    tally.check("ten find room", by.count(200) == 10 and by.count(403) == 20, by)
    tally.check("others are told", all("quota" in a.json()["message"] for a in answers if a.status == 403), by)
    tally.check("to the byte", used() == free, used())
    tally.check("nothing lies about", len([p for p in stored() if "/q" in p]) == 10, stored())
    with sqlite3.connect(FOLDER / "data.db", timeout=20) as db:
        db.execute("UPDATE _kombi_storage SET used = ?", (before + 10 * size,))


def after_a_kill():
    """A process of its own, killed in the middle of uploads; then what no record names is swept."""
    with tempfile.TemporaryDirectory() as folder:
        data, storage = f"{folder}/data", pathlib.Path(folder) / "data/tenants/crash/storage"
        os.mkdir(data)
        stack = ServiceProcess("stack", folder, identity.root_secret().decode(), KOMBI_DATA_DIR=data)
        try:
            there = StackWorld(stack.start().url, data)
            there.tenant("crash", "free")
            who = there.enter("ada", "crash")["token"]
            made = there.wire.call("POST", "/tenant/crash/api/collections", {
                "name": "docs", "type": "base", "fields": [{"name": "file", "type": "file"}]}, {"Authorization": who})
            records = f"{stack.url}/tenant/crash/api/collections/docs/records"
            acknowledged = []

            def work():
                head = {"Authorization": who, "Content-Type": "multipart/form-data; boundary=b0undary"}
                try:
                    while True:
                        request = urllib.request.Request(records, form(("file", "f.txt", os.urandom(100000))), head)
                        with urllib.request.urlopen(request, timeout=20) as answer:
                            acknowledged.append(json.loads(answer.read()))
                except (OSError, http.client.HTTPException):
                    pass

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            until(lambda: len(acknowledged) > 20, "uploads")
            stack.kill()
            for thread in threads:
                thread.join()
            one = acknowledged[0]
            orphan = storage / made.json()["id"] / one["id"] / "orphan_0123456789.txt"
            orphan.write_bytes(b"nobody's")
            alone = storage / made.json()["id"] / "0123456789abcde" / "alone_0123456789.txt"
            alone.parent.mkdir()
            alone.write_bytes(b"nobody's")
            stack.start()
            until(lambda: not orphan.exists() and not alone.exists(), "the sweep")
            tally.check("what was acknowledged is there", all(
                (storage / r["collectionId"] / r["id"] / r["file"]).stat().st_size == 100000 for r in acknowledged))
            with sqlite3.connect(f"{data}/tenants/crash/data.db", timeout=20) as db:
                rows = db.execute("SELECT id, file FROM docs").fetchall()
                count = db.execute("SELECT used FROM _kombi_storage").fetchone()[0]
            tally.check("each row has its file", all(list(storage.glob(f"*/{i}/{name}")) for i, name in rows), len(rows))
            tally.check("and the count is theirs", count == 100000 * len(rows), (count, len(rows)))
            until(lambda: len([p for p in storage.rglob("*") if p.is_file()]) == len(rows), "no other file")
        finally:
            stack.stop()


def all_go():
    expect("truncated", api("DELETE", "/collections/docs/truncate"), 204)
    tally.check("no file is left", not stored() and used() == 0, stored())
    upload("/collections/docs/records", ("files", "x.txt", b"x"))
    expect("the collection goes", api("DELETE", "/collections/docs"), 204)
    tally.check("with its files", not stored() and used() == 0, stored())


FIELDS = [
    {"name": "title", "type": "text"}, {"name": "count", "type": "number"}, {"name": "flag", "type": "bool"},
    {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
    {"name": "cover", "type": "file", "mimeTypes": ["image/png"]}, {"name": "files", "type": "file", "maxSelect": 5},
    {"name": "small", "type": "file", "maxSize": 100}, {"name": "large", "type": "file", "maxSize": 100 << 20},
    {"name": "secret", "type": "file", "protected": True},
]
expect("a collection with files", api("POST", "/collections", {"name": "docs", "type": "base", "fields": FIELDS,
                                                               "viewRule": "title = 'shown'"}), 200)
values_of_forms()
the_life_of_files()
what_a_field_refuses()
how_they_are_served()
protected()
large_and_torn()
the_quota_is_exact()
after_a_kill()
all_go()
tally.end()
