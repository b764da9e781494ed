#!/usr/bin/env python3
"""After an upgrade tenants are migrated in waves that end at the first failure; it is told, and hurts that one tenant alone."""
# captive-env: STACKKITS_URL=http://127.0.0.1:9
import os
import pathlib
import secrets
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from service_process import ServiceProcess  # noqa: E402
from stack_world import StackWorld  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import until  # noqa: E402

tally = Tally()
check = tally.check
SLUGS = ("a", "b", "c", "d")


def statement(data, sql):
    with sqlite3.connect(os.path.join(data, "platform.db"), timeout=10) as db:
        rows = db.execute(sql).fetchall()
    db.close()
    return rows


def versions(data):
    return dict(statement(data, "SELECT slug, schema_version FROM _tenants"))


def health(service):
    return service_wire(service, "GET", "/health").json()


def service_wire(service, method, target):
    return StackWorld(service.url, "").wire.call(method, target)


def damage(data, slug):
    folder = pathlib.Path(data) / "tenants" / slug
    for name in ("data.db-wal", "data.db-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "data.db").write_bytes(b"no database at all" * 1000)


def run(data):
    secret = secrets.token_hex(32)
    os.environ.pop("KOMBI_SERVICE_SECRET_FILE", None)
    os.environ["KOMBI_SERVICE_SECRET"] = secret
    service = ServiceProcess("stack", data, secret, KOMBI_DATA_DIR=data, STACKKITS_URL="http://127.0.0.1:9",
                             KOMBI_MIGRATION_WAVE="1", KOMBI_TENANTS_OPEN="2", KOMBI_LOG_LEVEL="info")
    try:
        service.start()
        world = StackWorld(service.url, data)
        for slug in SLUGS:
            world.tenant(slug)
            world.enter("owner", slug)
        check("new tenants have the newest", len(set(versions(data).values())) == 1 and min(versions(data).values()) > 0, versions(data))
        newest = versions(data)["a"]
        service.terminate()
        statement(data, "UPDATE _tenants SET schema_version = 0")
        damage(data, "c")
        service.start()
        until(lambda: health(service)["checks"]["tenant_migrations"] != "ok", "the failure is told")
        check("the others' health is theirs", service_wire(service, "GET", "/ready").status == 200)
        told = health(service)
        check("the instance is degraded, not down", told["status"] == "degraded", told)
        check("the log says which and why", '"tenant":"c"' in service.log(), service.log())
        check("those before it are migrated, those behind it wait", versions(data) == {"a": newest, "b": newest, "c": 0, "d": 0}, versions(data))
        world = StackWorld(service.url, data)
        answers = {slug: world.ask("owner", f"org-{slug}", "GET", "/v1/tenant", tenant=slug) for slug in SLUGS}
        check("each opens at its first use but the one", {slug: answer.status for slug, answer in answers.items()} ==
              {"a": 200, "b": 200, "c": 503, "d": 200}, answers)
        again = [world.ask("owner", f"org-{slug}", "GET", "/v1/tenant", tenant=slug).status for slug in ("a", "b", "d") * 5]
        check("more tenants than are kept open take turns", set(again) == {200}, again)
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill()


with tempfile.TemporaryDirectory(prefix="kombi-waves-") as folder:
    run(folder)
tally.end()
