"""header_spoof: what a client may say in headers, and what services believe."""

import re
from urllib.parse import unquote

from .tokens import IDENTITY
from .wire import ask

# Not 127.0.0.1, which the cases claim to be.
CLIENT = "127.0.0.2"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RENAMED = {"X-Kombi-Gateway-Signature": "X-Kombi-Proof"}


def folded(name):
    return re.sub(r"[^a-z0-9]", "-", name.lower()).rstrip("-")


def fill(value, keys):
    return value.replace("@@TOKEN_ADMIN@@", keys.token("admin"))


def run(check, setup):
    """At the gateway in front of stubs."""
    request = check.case["request"]
    setup.book.clear()
    sent = [(name, fill(value, setup.keys)) for name, value in request.get("headers", [])]
    own_name = any(name in RENAMED for name, _ in sent)
    for headers in ([sent, [(RENAMED.get(n, n), v) for n, v in sent]] if own_name else [sent]):
        setup.book.clear()
        answer, _ = ask(setup.port, request["method"], request["path"], [*setup.keys.bearer(request["as"]), *headers],
                        source=CLIENT)
        check.status_and_code(answer)
        check.errors_are_whole([answer], request["method"])
        judge_upstream(check, setup, answer, headers)
        judge_answer(check, setup, answer, headers)
        judge_cors(check, answer)


def judge_upstream(check, setup, answer, sent):
    seen = setup.of_clients()
    if answer.status == 200 and request_goes_through(check.case):
        check.hold(len(seen) == 1, f"{len(seen)} requests reached an upstream")
    values = [v.strip() for r in seen for _, value in r.headers for v in (value, *value.split(","))]
    for name, wanted in (check.take("upstream_header_equals") or {}).items():
        got = [unquote(v) for r in seen for v in r.all(name)]
        check.hold(got == [wanted] * len(seen), f"upstream {name}: {got}, expected {wanted!r}")
    lacks = check.take("upstream_lacks_value")
    if lacks:
        check.hold(fill(lacks, setup.keys) not in values, f"upstream_lacks_value: {lacks!r} went through")
    name = check.take("upstream_lacks_header")
    if name:
        got = [r.all(name) for r in seen]
        check.hold(not any(got), f"upstream_lacks_header {name}: {got}")
    if check.take("each_identity_header_at_most_once"):
        own = [folded(k) for r in seen for k, _ in r.headers]
        double = [n for n in IDENTITY if own.count(folded(n)) > 1]
        check.hold(not double, f"more than once upstream: {double}")
    name = check.take("upstream_value_not_client_controlled")
    if name:
        claimed = dict(sent)[name]
        got = [v for r in seen for v in r.all(name)]
        check.hold(not any(says(v, claimed) for v in got), f"upstream {name}: {got}")
    for name, of in (("upstream_path", "path"), ("upstream_method", "method")):
        wanted = check.take(name)
        if wanted:
            check.hold([getattr(r, of) for r in seen] == [wanted], f"{name}: {[getattr(r, of) for r in seen]}")


def says(value, claimed):
    """A port of "1" is not in a port of "8100"; an address is, wherever it stands."""
    return claimed in [part.strip() for part in value.split(",")] or (len(claimed) > 3 and claimed in value)


def request_goes_through(case):
    return case["request"]["path"].startswith("/v1/") and case["request"]["method"] != "OPTIONS"


def judge_answer(check, setup, answer, sent):
    names = check.take("response_header") or []
    for name in [names] if isinstance(names, str) else names:
        check.hold(len(answer.all(name)) == 1 and answer.header(name), f"response_header {name}: {answer.all(name)}")
    asked = dict(sent).get("X-Request-ID")
    if asked is not None:
        same = answer.header("X-Request-ID") == asked
        check.hold(same == bool(UUID.fullmatch(asked)), f"X-Request-ID sent {asked!r}, got {answer.header('X-Request-ID')!r}")
    for name in check.take("response_lacks_header") or []:
        check.hold(not answer.all(name), f"response_lacks_header {name}: {answer.all(name)}")
    owner = check.take("no_item_of")
    if owner:
        check.hold(owner.encode() not in answer.body, f"no_item_of {owner}: {answer.body[:200]!r}")
    wants_peer, wants_json = check.take("audit_ip_is_peer"), check.take("log_lines_valid_json")
    if wants_peer or wants_json:
        line = setup.gateway.log_line(lambda item: item.get("requestId") == answer.header("X-Request-ID"))
        check.hold(line, "the request is not in the log")
        if wants_peer and line:
            check.hold(line.get("peer") == CLIENT, f"audit_ip_is_peer: the log says {line.get('peer')}")
        check.hold(not setup.gateway.faults, f"log lines that are not JSON: {setup.gateway.faults[:2]}")


def judge_cors(check, answer):
    origin = answer.header("Access-Control-Allow-Origin")
    if "acao" in check.named:
        wanted = check.take("acao")
        check.hold(origin == wanted, f"Access-Control-Allow-Origin {origin!r}, expected {wanted!r}")
    if check.take("vary_origin"):
        check.hold(any("origin" in v.lower() for v in answer.all("Vary")), f"vary_origin: Vary is {answer.all('Vary')}")
    if check.take("never"):
        check.hold(not (origin == "*" and answer.header("Access-Control-Allow-Credentials")), "any origin with credentials")
    granted = (answer.header("Access-Control-Allow-Headers") or "").lower()
    for name in check.take("allow_headers_lacks") or []:
        check.hold(name not in granted, f"allow_headers_lacks {name}: {granted}")


# ---- with the real services -------------------------------------------------------


def needs_real(case):
    return case["group"] == "direct"


def run_direct(check, real):
    """Straight to a service: identity headers without, or with a wrong, proof."""
    request, keys = check.case["request"], real.keys
    service = getattr(real, check.case["target"])
    path = request["path"].replace("@@STACK_A@@", real.stack_a)
    persona = "admin" if service.name == "admin" else "user_a"
    proven = dict(keys.proven("GET", service.name, persona, "org-a"))
    right, _ = ask(service.port, "GET", path, list(proven.items()))
    check.hold(right.status == 200, f"the right proof is refused: {right}")
    said = {RENAMED.get(name, name): fill(value, keys) for name, value in request["headers"]}
    if said.get("X-Kombi-Proof", "").startswith("@@PROOF"):
        # all that the gateway would send, but for what the case changes
        said = {**proven, **said, "X-Kombi-Proof": proven["X-Kombi-Proof"]}
    answer, _ = ask(service.port, request["method"], path, list(said.items()))
    check.status_and_code(answer)
    check.errors_are_whole([answer])
    if request["method"] == "DELETE":
        left = real.call("GET", path, "user_a")
        check.hold(left.status == 200, f"the stack is gone: {left}")


def run_selection(check, real):
    """The tenant that a client asks for, with real tenants behind."""
    request = check.case["request"]
    answer = real.call(request["method"], request["path"], request["as"], headers=request["headers"])
    check.status_and_code(answer)
    check.errors_are_whole([answer])
    check.take("upstream_header_equals")  # held by the same case in front of stubs
    owner = check.take("no_item_of")
    for trace in (owner, "stack-of-b", real.stack_b, "user-b1"):
        check.hold(trace.encode() not in answer.body, f"no_item_of {owner}: {answer.body[:200]!r}")
