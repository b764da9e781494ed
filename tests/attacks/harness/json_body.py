"""json_body: documents that a service must refuse, and what it stores of those
that it takes. Real gateway, stack and admin."""

import base64
import time

from .wire import ask

OTHERS = "org_b"


def body_of(request):
    if "body_b64" in request:
        return base64.b64decode(request["body_b64"])
    if "body_gen" in request:
        return "".join(text * count for text, count in request["body_gen"]).encode()
    return request["body"].encode()


def send(case, real):
    request = case["request"]
    headers = [*real.keys.bearer(request["as"]), *map(tuple, request.get("headers", []))]
    return ask(real.port, request["method"], request["path"], headers, body_of(request))


def run(check, real):
    pids = [s.pid for s in (real.gateway, real.stack, real.admin) if s.alive]
    answer, took = send(check.case, real)
    limit = check.take("max_ms")
    if limit is not None and answer.status < 300:
        limit *= 20  # it was stored, and a commit waits for the disk
    for _ in range(9):  # the machine may be busy: one fast answer shows that it can
        if limit is None or took <= limit or answer.status < 300:
            break
        time.sleep(0.2)
        answer, again = send(check.case, real)
        took = min(took, again)
    if limit is not None:
        check.hold(took <= limit, f"max_ms: {took:.0f} ms, allowed {limit}")
    check.status_and_code(answer)
    check.errors_are_whole([answer])
    check.take("no_crash")
    alive = [s.pid for s in (real.gateway, real.stack, real.admin) if s.alive]
    check.hold(alive == pids and len(pids) == 3, "a service has died")
    if check.take("details_fields_named") and answer.status == 400:
        name_is_told(check, answer)
    if answer.status in (200, 201):
        judge_stored(check, real, answer)
    for name in ("stored_equals", "stored_name", "stored_field_unaffected"):
        check.take(name)


def name_is_told(check, answer):
    """The field at fault is named in details.fields."""
    wrong = "members" if "members" in check.case["title"] else "name"
    fields = (answer.error().get("details") or {}).get("fields")
    names = list(fields) if isinstance(fields, dict) else [f.get("field") for f in fields or [] if isinstance(f, dict)]
    check.hold(any(str(n).split("[")[0].split(".")[0] == wrong for n in names),
               f"details_fields_named: {wrong} is not in {answer.error().get('details')}")


def judge_stored(check, real, answer):
    """Reads back what was taken, and takes it away again."""
    made = (answer.json() or {}).get("data") or {}
    if check.case["request"]["path"] != "/v1/stacks":
        return
    path = f"/v1/stacks/{made.get('id')}"
    stored = real.call("GET", path, "user_a")
    check.hold(stored.status == 200, f"the stack that was made: {stored}")
    data = (stored.json() or {}).get("data") or {}
    for name in ("stored_equals", "stored_name"):
        wanted = check.take(name)
        if wanted is not None:
            check.hold(data.get("name") == wanted, f"{name}: {data.get('name')!r}, expected {wanted!r}")
    field = check.take("stored_field_unaffected")
    if field:
        check.hold(OTHERS not in str(data), f"stored_field_unaffected {field}: {data}")
        others = real.call("GET", path, "user_b")
        check.hold(others.status == 404, f"the other tenant sees it: {others}")
    gone = real.call("DELETE", path, "user_a")
    check.hold(gone.status in (200, 204), f"deleting it: {gone}")
