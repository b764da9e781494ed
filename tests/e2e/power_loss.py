#!/usr/bin/env python3
"""The stack loses power in the middle of its work, in many ways: what it acknowledged is there, its files are whole.

Usage: tests/e2e/power_loss.py [--states N] [--seed N] [--starts N]

A stack service runs under tests/support/disk_log.c while records are made, changed and deleted and files uploaded. Of
what it wrote, states are made in which a disk could be after a loss of power at a random moment: what was synced
stands; each later write stands, is lost, or is torn at a sector, later ones perhaps without earlier ones; names of
files that were made, renamed or removed after their folder was synced, perhaps. In every state SQLite's checks pass,
every acknowledged record is there with at least the acknowledged change, and every file that a record names is whole;
on some of them the service is started and asked."""
import argparse
import hashlib
import os
import pathlib
import random
import re
import secrets
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from service_process import ServiceProcess  # noqa: E402
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from wire import Wire  # noqa: E402

SECTOR = 512
ACKNOWLEDGED = re.compile(rb'"id":"(pl\w{13})"[^{}]*?"n":(\d+)')
RULES = {name: "" for name in ("listRule", "viewRule", "createRule", "updateRule", "deleteRule")}
WRITERS = 4
NAMELESS = "(deleted)"  # how the system calls a file that has a descriptor and no name
RECORDS = "/tenant/acme/api/collections/things/records"


# -- the work


class Work:
    """Writers with records of their own; `gone` are those that somebody asked to delete."""

    def __init__(self, url, seconds):
        self.url, self.end, self.gone, self.files = url, time.monotonic() + seconds, set(), {}
        threads = [threading.Thread(target=self.write, args=(index,)) for index in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def write(self, index):
        dice, own, number, wire = random.Random(index), {}, 0, Wire(self.url)
        while time.monotonic() < self.end:
            number += 1
            what = dice.random()
            if not own or what < 0.5:
                name = f"pl{index}{number:012d}"
                if self.create(wire, name, dice):
                    own[name] = 1
            elif what < 0.85:
                name = dice.choice(list(own))
                own[name] += 1
                assert wire.call("PATCH", f"{RECORDS}/{name}", {"n": own[name]}).status == 200
            else:
                name = dice.choice(list(own))
                del own[name]
                self.gone.add(name)
                assert wire.call("DELETE", f"{RECORDS}/{name}").status == 204

    def create(self, wire, name, dice):
        if dice.random() < 0.7:
            return wire.call("POST", RECORDS, {"id": name, "n": 1, "title": "t" * dice.randrange(200)}).status == 200
        data = dice.randbytes(dice.randrange(1, 20000))
        self.files[hashlib.sha256(data).hexdigest()] = len(data)
        return upload(wire, name, data)


def upload(wire, name, data):
    """A record with a file, as a browser's form sends it."""
    mark = "x" + secrets.token_hex(8)
    parts = "".join(f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
                    for key, value in (("id", name), ("n", "1")))
    body = (parts + f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n").encode() + data + f"\r\n--{mark}--\r\n".encode()
    answer = wire.call("POST", RECORDS, body, {"Content-Type": f"multipart/form-data; boundary={mark}"})
    return answer.status == 200


def prepared(service, data):
    """The tenant and its collection, made before the log begins to count."""
    world = StackWorld(service.url, data)
    world.tenant("acme", "enterprise")
    token = world.enter("owner", "acme")["token"]
    fields = [{"name": "n", "type": "number"}, {"name": "title", "type": "text"},
              {"name": "file", "type": "file", "maxSelect": 1, "maxSize": 100000}]
    made = world.wire.call("POST", "/tenant/acme/api/collections", {"name": "things", "fields": fields, **RULES}, {"Authorization": token})
    assert made.status == 200, made


# -- the states


def records_of(log):
    """(kind, path, offset, data) in the order of their happening."""
    data, at, out = log.read_bytes(), 0, []
    while at + 17 <= len(data):
        kind, (path_len, offset, size) = chr(data[at]), struct.unpack_from("<IQI", data, at + 1)
        at += 17
        path, at = data[at:at + path_len].decode(), at + path_len
        out.append((kind, path, offset, data[at:at + size]))
        at += size
    return out


class State:
    """The files after a loss of power at the record `cut`."""

    def __init__(self, records, cut, dice):
        self.dice, self.files, self.acknowledged = dice, {}, {}
        synced = {}
        for index in range(cut):
            if records[index][0] == "S":
                synced[records[index][1]] = index
        moved = {}  # where a file is now -> names that it had
        for index in range(cut):
            self.apply(records[index], index, synced, moved)

    def apply(self, record, index, synced, moved):
        kind, path, offset, data = record
        if kind == "A":
            self.acknowledge(data)
        elif path.endswith("-shm") or path.endswith(".lock"):
            return
        elif kind == "C":
            if path not in self.files and (self.in_folder(path, index, synced) or self.dice.random() < 0.5):
                self.files[path] = bytearray()
        elif kind == "U":
            if self.in_folder(path, index, synced) or self.dice.random() < 0.5:
                self.files.pop(path, None)
        elif kind in "RL":
            self.rename(kind, path, data.decode(), index, synced, moved)
        elif kind in "WT" and (path in self.files or path.endswith(NAMELESS)):
            self.files.setdefault(path, bytearray())
            # A file that was renamed later was synced by its name of then.
            names = (path, *(new for new, old in moved.items() if old == path))
            self.write(self.files[path], record, any(index < synced.get(name, -1) for name in names))

    def rename(self, kind, old, new, index, synced, moved):
        moved[new] = old
        if old in self.files and (self.in_folder(new, index, synced) or self.dice.random() < 0.5):
            # A file without a name has only this one from now on: its number may be another file's soon.
            once = kind == "R" or old.endswith(NAMELESS)
            self.files[new] = self.files.pop(old) if once else self.files[old]

    @staticmethod
    def in_folder(path, index, synced):
        """A name stands once its folder was synced; SQLite syncs a file's name with its first sync of the file."""
        return index < synced.get(os.path.dirname(path), -1) or index < synced.get(path, -1)

    def write(self, file, record, durable):
        kind, _, offset, data = record
        if not durable and (fate := self.dice.random()) < 0.4:
            return
        if kind == "T":
            del file[offset:]
            file.extend(b"\0" * (offset - len(file)))
        elif durable or fate >= 0.6:
            put(file, offset, data)
        else:
            for at in range(0, len(data), SECTOR):
                if self.dice.random() < 0.5:
                    put(file, offset + at, data[at:at + SECTOR])

    def acknowledge(self, answer):
        for name, n in ACKNOWLEDGED.findall(answer):
            self.acknowledged[name.decode()] = max(int(n), self.acknowledged.get(name.decode(), 0))

    def lay(self, root, folder):
        for path, data in self.files.items():
            if path.endswith(NAMELESS):
                continue
            target = folder / os.path.relpath(path, root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def put(file, offset, data):
    if len(file) < offset:
        file.extend(b"\0" * (offset - len(file)))
    file[offset:offset + len(data)] = data


# -- what must be so


def whole(path):
    """"" or what SQLite finds wrong; and the rows of things."""
    db = sqlite3.connect(path)
    try:
        said = [row[0] for row in db.execute("PRAGMA integrity_check")]
        if said != ["ok"]:
            return f"{path.name}: {said[:3]}", {}
        if db.execute("PRAGMA foreign_key_check").fetchall():
            return f"{path.name}: foreign keys", {}
        if path.name != "data.db":
            return "", {}
        table = db.execute("SELECT table_name FROM _collections WHERE name = 'things'").fetchone()[0]
        columns = [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]
        file = "file" if "file" in columns else "''"
        return "", {row[0]: row[1:] for row in db.execute(f'SELECT id, n, {file} FROM "{table}"')}
    except (sqlite3.DatabaseError, TypeError) as problem:
        return f"{path.name}: {problem}", {}
    finally:
        db.close()


def wrongs(folder, state, work):
    """Everything that is not as it must be after this loss of power."""
    wrong, rows = [], {}
    for path in (folder / "platform.db", folder / "tenants/acme/data.db"):
        said, found = whole(path) if path.exists() else (f"{path.name} is gone", {})
        wrong += [said] if said else []
        rows.update(found)
    for name, n in state.acknowledged.items():
        if name in rows and rows[name][0] < n:
            wrong.append(f"{name} is {rows[name][0]}, acknowledged {n}")
        elif name not in rows and name not in work.gone:
            wrong.append(f"{name} is lost")
    for name, (_, file) in rows.items():
        wrong += [said for said in [half(folder, name, file, work)] if file and said]
    return wrong


def half(folder, name, file, work):
    """What is wrong with the file that a record names."""
    found = list(folder.glob(f"tenants/acme/storage/*/{name}/{file}"))
    if not found:
        return f"the file {file} of {name} is gone"
    data = found[0].read_bytes()
    return "" if work.files.get(hashlib.sha256(data).hexdigest()) == len(data) else f"the file of {name} is half done"


def starts(folder, state, work, secret):
    """What the service itself says of that disk."""
    service = ServiceProcess("stack", folder.parent, secret, KOMBI_DATA_DIR=str(folder), STACKKITS_URL="http://127.0.0.1:9")
    try:
        wire = StackWorld(service.start().url, folder).wire
        lost = [name for name in state.acknowledged if name not in work.gone and wire.call("GET", f"{RECORDS}/{name}").status != 200]
        return [f"the service does not know {name}" for name in lost[:3]]
    finally:
        service.stop()


def run(options, folder, tally):
    data, log, secret = folder / "data", folder / "log", secrets.token_hex(32)
    data.mkdir()
    os.environ["KOMBI_SERVICE_SECRET"] = secret
    library = folder / "disk_log.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-o", library, HERE.parent / "support/disk_log.c", "-ldl"], check=True)
    service = ServiceProcess("stack", folder, secret, KOMBI_DATA_DIR=str(data), STACKKITS_URL="http://127.0.0.1:9",
                             LD_PRELOAD=str(library), DISK_LOG=str(log), DISK_LOG_ROOT=str(data))
    try:
        prepared(service.start(), data)
        first = len(records_of(log))
        work = Work(service.url, options.seconds)
    finally:
        service.kill()
    records = records_of(log)
    judge(options, folder, tally, (records, first, data, work, secret))


def judge(options, folder, tally, made):
    records, first, data, work, secret = made
    dice, bad, seen = random.Random(options.seed), 0, 0
    for number in range(options.states):
        state = State(records, dice.randrange(first, len(records) + 1), dice)
        disk = folder / "disk"
        state.lay(data, disk)
        wrong = wrongs(disk, state, work)
        if not wrong and number < options.starts:
            wrong = starts(disk, state, work, secret)
        seen = max(seen, len(state.acknowledged))
        if wrong and (bad := bad + 1) <= 5:
            print(f"state {number}: {wrong[:4]}", flush=True)
        shutil.rmtree(disk)
    kinds = "".join(kind for kind, *_ in records)
    print(f"{options.states} states of {len(records)} records ({kinds.count('W')} writes, {kinds.count('S')} syncs, {kinds.count('A')} answers); "
          f"{seen} acknowledged, {len(work.files)} files")
    tally.check("something was acknowledged", seen > 20, seen)
    tally.check(f"{options.states} losses of power lose nothing that was acknowledged and leave nothing half done", bad == 0, bad)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=40)
    parser.add_argument("--starts", type=int, default=3, help="on so many of them the service is started")
    parser.add_argument("--seconds", type=float, default=1, help="of work")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.pop("KOMBI_SERVICE_SECRET_FILE", None)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="kombi-power-") as folder:
        run(options, pathlib.Path(folder), tally)
    tally.end()


if __name__ == "__main__":
    main()
