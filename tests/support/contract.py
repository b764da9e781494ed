"""The contract that every route of every service is held to, driven by the service's own OpenAPI document.

A test gives a World: who may call, which ids exist. Contract(world).run() asks each route what it must refuse (401, 403, 404,
405, 400, 413, 415, 414, 431) and looks at every answer for envelope, request id and security headers."""
import datetime
import json
import os
import re
import subprocess
import time
import uuid

import identity
import schema
from tally import Tally
from wire import Wire

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SECURITY = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'none'", "Cache-Control": ""}
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
CODES = {400: {"VALIDATION_FAILED", "TENANT_REQUIRED"}, 401: {"AUTH_REQUIRED", "AUTH_INVALID", "KONG_AUTH_REQUIRED"},
         403: {"AUTH_INSUFFICIENT", "TENANT_FORBIDDEN", "PLAN_UPGRADE_REQUIRED"}, 404: {"NOT_FOUND", "TENANT_NOT_FOUND"},
         405: {"METHOD_NOT_ALLOWED"}, 413: {"PAYLOAD_TOO_LARGE"}, 414: {"VALIDATION_FAILED"}, 415: {"UNSUPPORTED_MEDIA_TYPE"},
         431: {"VALIDATION_FAILED"}}
NOT_JSON = {"empty": b"", "open": b"{", "a word": b"nonsense", "a list": b"[]", "a text": b'"a"', "trailing bytes": b"{} x",
            "a trailing comma": b'{"a":1,}', "no UTF-8": b'{"a":"\xff"}', "a NUL": b'{"a":"\\u0000"}', "deep": b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
            "the same member twice": b'{"name":"a","name":"b"}', "a bare NaN": b'{"a":NaN}', "a byte order mark": b"\xef\xbb\xbf{}"}


class World:
    """What a test knows of its service; the defaults fit no service."""

    service = ""
    body_limit = 1 << 20
    restless = ("GET /metrics",)  # GET routes whose answers differ between two calls
    odd = {}  # {route: status} of GET routes that do not answer a good caller with 200
    signed = {}  # {route: status} of public routes that ask for a signature of the body instead
    lists = ()  # routes that tell nothing by an unknown id: an empty list, the same page

    def good(self, method, path, permission):
        """Credentials that open the route, as headers."""
        raise NotImplementedError

    def too_low(self, method, path, permission):
        """{description: headers} of callers that are known and may not."""
        return {}

    def params(self, path):
        return {}

    def of_another_contract(self, path):
        """Routes whose shapes somebody else's clients fix; tested elsewhere."""
        return False

    def missing(self, path, name):
        """How an unknown value of a parameter is told."""
        return 404

    def body(self, method, path):
        """Members of a body that a schema cannot tell."""
        return {}

    # -- what all services share
    def user(self, method, **values):
        return identity.proven(identity.identity(**{"user": "contract-user", **values}), method, self.service)

    def caller(self, name):
        return identity.bearer(name, self.service)


class Route:
    def __init__(self, path, method, operation):
        self.path, self.method, self.permission = path, method, operation["x-permission"]
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        self.schema = content.get("schema")
        self.names = re.findall(r"{(\w+)}", path)

    def __str__(self):
        return f"{self.method} {self.path}"

    @property
    def kind(self):
        return self.permission["kind"]

    @property
    def callers(self):
        return self.permission.get("callers", [])


def document():
    """The service that runs this test, asked for its own document."""
    out = subprocess.run([f"/proc/{os.getppid()}/exe", "--openapi"], capture_output=True, check=True, env={})
    return json.loads(out.stdout)


def routes_of(doc):
    for path, operations in doc["paths"].items():
        for method, operation in operations.items():
            yield Route(path, method.upper(), operation)


class Judge:
    """One call, and what holds for every answer of every service."""

    def __init__(self):
        self.tally, self.wire, self.excused = Tally(), Wire(os.environ["KOMBI_URL"]), set()

    def excuse(self, name, answer):
        """Why this header may be missing here for now; a reason that no longer holds is told."""
        return None

    def end(self):
        for reason in sorted(self.excused):
            self.tally.skip("a header", reason)
        self.tally.end()

    def ask(self, what, method, target, headers=(), body=None):
        sent = uuid.uuid4().hex
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        answer = self.wire.call(method, target, body, [*pairs, ("X-Request-ID", sent)])
        self.whole(what, method, answer, sent)
        return answer

    def whole(self, what, method, answer, sent):
        check = self.tally.check
        for name, wanted in SECURITY.items():
            values = answer.all(name)
            good = len(values) == 1 and wanted in values[0]
            if reason := self.excuse(name, answer):
                check(f"{what}: {name} is there; its excuse is to go", not good, answer)
                self.excused.add(reason)
            else:
                check(f"{what}: {name}", good, answer)
        check(f"{what}: its own request id", answer.all("X-Request-ID") == [sent], answer)
        if method == "HEAD":
            check(f"{what}: a HEAD has no body", answer.body == b"", answer)
        elif answer.status >= 400:
            self.envelope(what, answer, sent)
        if answer.status == 401:
            check(f"{what}: WWW-Authenticate", answer.header("WWW-Authenticate"), answer)

    def envelope(self, what, answer, sent):
        check, body, error = self.tally.check, answer.json(), answer.error
        check(f"{what}: the envelope alone", isinstance(body, dict) and list(body) == ["error"], answer)
        check(f"{what}: its members", {"code", "message", "requestId", "timestamp"} <= set(error) <=
              {"code", "message", "requestId", "timestamp", "details"}, answer)
        check(f"{what}: application/json", answer.all("Content-Type") == ["application/json"], answer)
        check(f"{what}: requestId", error.get("requestId") == sent, answer)
        check(f"{what}: a message", isinstance(error.get("message"), str) and error["message"], answer)
        try:
            age = time.time() - datetime.datetime.fromisoformat(error.get("timestamp", "").replace("Z", "+00:00")).timestamp()
        except ValueError:
            age = None
        check(f"{what}: a time of now", age is not None and abs(age) < 30, answer)

    def refused(self, what, answer, status, codes=None):
        wanted = {status} if isinstance(status, int) else set(status)
        good = answer.status in wanted
        allowed = codes or CODES.get(answer.status, set())
        self.tally.check(f"{what}: {sorted(wanted)}", good and (answer.code in allowed or answer.body == b""), answer)

    def request_ids(self):
        for what, sent in {"too long": "a" * 65, "with a blank": "a b", "with a quote": 'a"b', "empty": "", "with bytes": "a\xffb"}.items():
            for target in ("/health", "/nothing-here"):
                answer = self.wire.call("GET", target, None, [("X-Request-ID", sent)])
                got = answer.header("X-Request-ID") or ""
                self.tally.check(f"a request id {what} is replaced", got != sent and REQUEST_ID.fullmatch(got), answer)
                if answer.status >= 400:
                    self.tally.check("the replaced id is in the body", answer.error.get("requestId") == got, answer)
        answer = self.wire.call("GET", "/nothing-here", None, [("X-Request-ID", "one"), ("X-Request-ID", "two")])
        self.tally.check("one request id comes back", len(answer.all("X-Request-ID")) == 1 and answer.error.get("requestId") == answer.header("X-Request-ID"), answer)


class Contract(Judge):
    def __init__(self, world):
        super().__init__()
        self.world = world
        routes = list(routes_of(document()))
        self.routes = [route for route in routes if not world.of_another_contract(route.path)]
        self.others = len(routes) - len(self.routes)

    def run(self):
        if self.others:
            self.tally.skip(f"{self.others} routes", "they speak PocketBase's shapes, held by its own SDK in tests/sdk")
        for route in self.routes:
            for ask in (self.strangers, self.forgers, self.lesser, self.bodies, self.media, self.sizes, self.unknown, self.heads):
                ask(route)
        for path in dict.fromkeys(route.path for route in self.routes):
            self.methods(path)
        self.request_ids()
        self.end()

    # -- what a route is asked with

    def target(self, route, **instead):
        values = {**{name: "x" for name in route.names}, **self.world.params(route.path), **instead}
        return re.sub(r"{(\w+)}", lambda match: values[match.group(1)], route.path)

    def good(self, route, method=None):
        return {} if route.kind == "public" else self.world.good(method or route.method, route.path, route.permission)

    def valid(self, route):
        return None if route.schema is None else {**schema.least(route.schema), **self.world.body(route.method, route.path)}

    # -- who is asking

    def strangers(self, route):
        answer = self.ask(f"{route} without credentials", route.method, self.target(route))
        if route.kind == "public":
            self.public(f"{route} is public", route, answer)
            return
        wanted = {"AUTH_REQUIRED"} if route.kind == "service" else {"KONG_AUTH_REQUIRED", "AUTH_REQUIRED"}
        self.refused(f"{route} without credentials", answer, 401, wanted)

    def public(self, what, route, answer):
        wanted = self.world.signed.get(str(route))
        self.tally.check(what, answer.status < 400 if wanted is None else answer.status == wanted, answer)

    def forgeries(self, route):
        """Identity headers with all that is no proof of them."""
        name, method, now = self.world.service, route.method, int(time.time())
        values = identity.identity("contract-user", "contract-org", "enterprise", "admin,kombisphere_admin", tenant="contract")
        good = identity.proof_of(values, method, name)
        other = "DELETE" if method == "GET" else "GET"
        yield "no proof", list(values.items())
        for what, proof in {
                "an empty proof": "", "a false proof": re.sub("v1=.*", "v1=" + "0" * 64, good), "a word as proof": "yes",
                "an expired proof": identity.proof_of(values, method, name, at=now - 120),
                "a proof of tomorrow": identity.proof_of(values, method, name, at=now + 60),
                "a proof for another method": identity.proof_of(values, other, name),
                "a proof for another service": identity.proof_of(values, method, "cloud"),
                "a proof of another service": identity.proof_of(values, method, name, key=identity.pair_key("sphere", name)),
                "a proof with a tail": good + ",v1=" + "0" * 64}.items():
            yield what, [*values.items(), ("X-Kombi-Proof", proof)]
        yield "two proofs", [*values.items(), ("X-Kombi-Proof", good), ("X-Kombi-Proof", good)]
        yield "a user twice", [*values.items(), ("X-User-ID", "contract-user"), ("X-Kombi-Proof", good)]
        for field, lie in {"X-User-ID": "root", "X-User-Roles": "owner", "X-Tenant-ID": "other", "X-Org-ID": "other", "X-Subscription-Plan": "pro"}.items():
            yield f"another {field}", list({**values, field: lie, "X-Kombi-Proof": good}.items())

    def tokens(self, route):
        """Tokens of a listed caller that must not be believed."""
        name, now = self.world.service, int(time.time())
        caller = (route.callers or ["admin"])[0]
        token = identity.service_token(caller, name)
        for what, bad in {
                "an expired token": identity.service_token(caller, name, iat=now - 120, exp=now - 60),
                "a token without end": identity.service_token(caller, name, exp=None),
                "a token for years": identity.service_token(caller, name, exp=now + 10**8),
                "a token for another service": identity.service_token(caller, name, aud="cloud"),
                "a token of another key": identity.service_token(caller, name, key=identity.pair_key(caller, "cloud")),
                "a token of another root": identity.service_token(caller, name, key=identity.pair_key(caller, name, b"r" * 32)),
                "an unsigned token": token.rsplit(".", 1)[0] + ".", "algorithm none": identity.service_token(caller, name, header={"alg": "none"}),
                "an unknown key": identity.service_token(caller, name, header={"kid": "00000000"}),
                "a broken token": token[:-3] + "AAA", "no token": "x"}.items():
            yield what, {"Authorization": f"Bearer {bad}"}
        yield "a Basic login", {"Authorization": "Basic YTpi"}
        yield "two tokens", [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]

    def forgers(self, route):
        target = self.target(route)
        for what, headers in self.forgeries(route):
            answer = self.ask(f"{route} with {what}", route.method, target, headers)
            if route.kind == "public":
                self.public(f"{route} stays public with {what}", route, answer)
            else:
                self.refused(f"{route} with {what}", answer, 401, {"AUTH_INVALID"})
        if route.kind == "public":
            return
        for what, headers in self.tokens(route):
            self.refused(f"{route} with {what}", self.ask(f"{route} with {what}", route.method, target, headers), 401)

    def lesser(self, route):
        """Known, and not allowed."""
        if route.kind == "public":
            return
        target, body = self.target(route), self.valid(route)
        for name in {"admin", "stack", "gateway", "cloud", "sim", "nobody"} - set(route.callers):
            answer = self.ask(f"{route} by the service {name}", route.method, target, self.world.caller(name), body)
            # A route that lists no service takes no service's token as a credential.
            self.refused(f"{route} by the service {name}", answer, 403 if route.callers else 401)
        callers = dict(self.world.too_low(route.method, route.path, route.permission))
        if route.kind in ("service", "platform"):
            callers["a user"] = self.world.user(route.method, org="contract-org", roles="admin,viewer,kombisphere_admins,xadmin:super")
        for what, headers in callers.items():
            self.refused(f"{route} by {what}", self.ask(f"{route} by {what}", route.method, target, headers, body), 403)

    # -- what is asked

    def unknown(self, route):
        what = f"{route} and a path behind it"
        answer = self.ask(what, route.method, self.target(route).rstrip("/") + "/there/is/nothing", self.good(route))
        self.refused(what, answer, 404, {"NOT_FOUND"})
        if str(route) in self.world.lists:
            return
        for name in route.names:
            what = f"{route} with an unknown {name}"
            for value in ("unknown-1", "..%2f..", "a%20b%27", "0" * 200):
                answer = self.ask(what, route.method, self.target(route, **{name: value}), self.good(route), self.valid(route))
                status = self.world.missing(route.path, name)
                self.refused(what, answer, {400, status} if "%" in value else status)
        answer = self.ask(f"{route} with a broken query", route.method, self.target(route) + "?page=%zz", self.good(route), self.valid(route))
        self.refused(f"{route} with a broken query", answer, 400)

    def bodies(self, route):
        if route.schema is None:
            return
        target = self.target(route)
        for what, body in NOT_JSON.items():
            what = f"{route} with {what} as body"
            self.refused(what, self.ask(what, route.method, target, self.good(route), body), 400, {"VALIDATION_FAILED"})
        for what, field, body in schema.wrong(route.schema, self.valid(route)):
            what = f"{route}: {what}"
            answer = self.ask(what, route.method, target, self.good(route), body)
            self.refused(what, answer, 400, {"VALIDATION_FAILED"})
            fields = (answer.error.get("details") or {}).get("fields") or {}
            self.tally.check(f"{what}: says that it is {field}", field in fields, answer)

    def media(self, route):
        if route.schema is None:
            return
        body = json.dumps(self.valid(route)).encode()
        for what, pairs in {"text/plain": [("Content-Type", "text/plain")], "a form": [("Content-Type", "application/x-www-form-urlencoded")],
                            "no type": [("Content-Type", None)], "jsonp": [("Content-Type", "application/jsonp")],
                            "gzip": [("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
                            "two types": [("Content-Type", "application/json"), ("Content-Type", "text/plain")]}.items():
            what = f"{route} with {what}"
            answer = self.ask(what, route.method, self.target(route), [*self.good(route).items(), *pairs], body)
            # RFC 9110 knows one Content-Type: two are a malformed head as well.
            self.refused(what, answer, {400, 415} if "two" in what else 415)

    def sizes(self, route):
        target, good = self.target(route), self.good(route)
        for what, answer_status, extra, path in (
                ("a header too long", 431, [("X-Long", "a" * 9000)], target), ("headers too many", 431, [(f"X-{i}", "a") for i in range(120)], target),
                ("headers too long together", 431, [(f"X-{i}", "a" * 4000) for i in range(6)], target),
                ("a target too long", 414, [], target + "?q=" + "a" * 9000)):
            what = f"{route} with {what}"
            # The head is cut off before the id is read when it stands behind: it goes first here.
            sent = uuid.uuid4().hex
            answer = self.wire.call(route.method, path, None, [("X-Request-ID", sent), *good.items(), *extra])
            self.tally.check(f"{what}: {answer_status} in the envelope", answer.status == answer_status and answer.code in CODES[answer_status]
                             and answer.error.get("requestId") == answer.header("X-Request-ID"), answer)
            self.whole(what, route.method, answer, answer.header("X-Request-ID"))
        if route.method in ("POST", "PUT", "PATCH"):
            what = f"{route} with a body too large"
            headers = {**good, "Content-Type": "application/json"}
            answer = self.ask(what, route.method, target, {**headers, "Content-Length": str(self.world.body_limit + 1)})
            self.refused(what, answer, 413)
            chunk = b"%x\r\n" % (self.world.body_limit + 1) + b" " * (self.world.body_limit + 1) + b"\r\n0\r\n\r\n"
            answer = self.ask(what, route.method, target, {**headers, "Transfer-Encoding": "chunked", "Content-Length": None}, chunk)
            self.refused(f"{what}, in chunks", answer, 413)

    def heads(self, route):
        if route.method != "GET":
            return
        target = self.target(route)
        get = self.ask(f"{route}", "GET", target, self.good(route))
        self.tally.check(f"{route} answers its caller", get.status == self.world.odd.get(str(route), 200), get)
        head = self.ask(f"HEAD of {route}", "HEAD", target, self.good(route, "HEAD"))
        self.tally.check(f"HEAD {route.path} follows GET", head.status == get.status, (get, head))
        for name in ("Content-Type", "ETag") if str(route) in self.world.restless else ("Content-Type", "ETag", "Content-Length"):
            self.tally.check(f"HEAD {route.path} follows GET in {name}", head.header(name) == get.header(name), (get, head))
        if get.status < 400 and route.path != "/metrics":
            self.tally.check(f"{route} is no plain text", not (get.header("Content-Type") or "").startswith("text/plain"), get)
        if route.kind != "public":
            answer = self.ask(f"HEAD of {route} without credentials", "HEAD", target)
            self.tally.check(f"HEAD {route.path} without credentials", answer.status == 401, answer)

    def methods(self, path):
        """405 for whatever the document does not name, with what it does."""
        here = [route for route in self.routes if route.path == path]
        declared = {route.method for route in here}
        declared |= {"OPTIONS"} | ({"HEAD"} if "GET" in declared else set())
        target = self.target(here[0])
        for method in (*METHODS, "HEAD"):
            if method in declared:
                continue
            for who, headers in (("anybody", {}), ("a caller", self.good(here[0]))):
                answer = self.ask(f"{method} {path} by {who}", method, target, headers)
                allow = {word.strip() for word in (answer.header("Allow") or "").split(",")}
                self.tally.check(f"{method} {path} by {who}: 405 with Allow {sorted(declared)}", answer.status == 405 and allow == declared, answer)
        # A method that HTTP does not know is no method of ours: 501 (RFC 9110, 9.1).
        self.refused(f"BREW {path}", self.ask(f"BREW {path}", "BREW", target), 501, {"VALIDATION_FAILED"})
        answer = self.ask(f"OPTIONS {path}", "OPTIONS", target)
        self.tally.check(f"OPTIONS {path}", answer.status == 204 and answer.body == b"" and answer.header("Allow"), answer)
