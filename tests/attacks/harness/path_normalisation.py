"""path_normalisation: one path, one decision, however it is spelled."""

import json

from .wire import ask

INTERNAL = ("/api/internal", "/api/admin", "/metrics", "/ready", "/config", "/server-status", "/.env", "/.git")


def needs_real(case):
    return case["group"] == "ids"  # what an id may be is the service's to say


def send(check, port, keys, path=None):
    request = check.case["request"]
    headers, body = keys.bearer(request["as"]), b""
    if "json" in request:
        headers, body = [*headers, ("Content-Type", "application/json")], json.dumps(request["json"]).encode()
    return ask(port, request["method"], path or request["path"], headers, body)[0]


def run(check, setup):
    """At the gateway in front of stubs."""
    setup.book.clear()
    answer = send(check, setup.port, setup.keys)
    seen = setup.of_clients()
    check.status_and_code(answer)
    check.errors_are_whole([answer])
    paths = [r.path for r in seen]
    if check.take("handler_not_reached"):
        check.hold(not any("/admin" in r.plain_path for r in seen), f"handler_not_reached: {paths}")
    for part in check.take("upstream_path_never_contains") or []:
        check.hold(not any(part in path for path in paths), f"upstream_path_never_contains {part!r}: {paths}")
    count = check.take("upstream_requests")
    if count is not None:
        check.hold(len(seen) == count, f"upstream_requests: {paths}, expected {count}")
    if check.take("internal_handler_not_reached"):
        check.hold(not any(start in r.plain_path for r in seen for start in INTERNAL), f"internal_handler_not_reached: {paths}")
    plain = check.take("same_decision_as")
    if plain:
        other = send(check, setup.port, setup.keys, plain)
        check.hold((other.status < 400) == (answer.status < 400), f"same_decision_as {plain}: {other}")


def run_ids(check, real):
    answer = send(check, real.port, real.keys)
    check.status_and_code(answer)
    check.errors_are_whole([answer])
    if check.take("no_5xx"):
        check.hold(answer.status < 500, f"no_5xx: {answer}")
