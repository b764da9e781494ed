"""http_raw: bytes on the wire, against the gateway and against one service."""

import base64
import re
import time

from .setups import wait_for
from .wire import Talk, answers_of, ask

HOST = b"gw.test"
QUIET_S = 0.12  # how long no further answer may come
CLOSE_S = 4     # how long a refused connection may stay open
AUTHORIZATION = b"Authorization: Bearer @@TOKEN@@\r\n"
UPSTREAM = ("upstream_requests", "never_upstream", "never_executed", "forbidden", "no_outbound_connect", "log_status")


class Target:
    """Where the bytes go: fills the place holders."""

    def __init__(self, service, keys, setup=None):
        self.service, self.port, self.setup, self.keys = service, service.port, setup, keys
        self.trap_port = setup.trap.port if setup else 9

    def fill(self, data):
        data = data.replace(b"127.0.0.1:5432", b"127.0.0.1:%d" % self.trap_port)
        return data.replace(b"@@HOST@@", HOST).replace(b"@@TOKEN@@", self.keys.token("user_a").encode())


class Direct(Target):
    """A service without the gateway: the proof stands for the token."""

    def fill(self, data):
        method = data.split(b" ", 1)[0].decode("latin-1")
        if data.count(b"\r\nAuthorization:") == 1:
            proven = self.keys.proven(method, self.service.name, "user_a", "org-a")
            data = data.replace(AUTHORIZATION, "".join(f"{k}: {v}\r\n" for k, v in proven).encode())
        data = data.replace(b" /v1/stacks ", b" /v1/simulations ").replace(b" /v1/catalog/public ", b" /v1/templates ")
        return super().fill(data)


def payload(case, target):
    if "raw_b64" in case:
        return target.fill(base64.b64decode(case["raw_b64"]))
    return target.fill(b"".join(base64.b64decode(part["b64"]) * part["repeat"] for part in case["gen"]))


def is_slow(case):
    """Takes seconds by its nature: a time limit of the server is waited for."""
    return case["group"] == "timing" and "steps" in case or case["expect"].get("no_answer_ok", False)


class Measured:
    """Memory, CPU and descriptors of the service around a case."""

    def __init__(self, check, service):
        self.check, self.service = check, service
        self.fds, self.cpu = service.fds(), service.cpu_ms()
        self.memory = service.forget_peak()

    def judge(self):
        check, service = self.check, self.service
        check.hold(service.alive, "the service has died")
        if not service.alive:
            return
        check.at_most("max_cpu_ms", service.cpu_ms() - self.cpu, "ms")
        check.at_most("max_rss_growth_kib", service.growth_kib(self.memory), "KiB")
        allowed = check.take("fd_delta")
        if allowed is not None:
            try:
                wait_for("descriptors", 3, lambda: service.fds() - self.fds <= allowed)
            except TimeoutError:
                check.fault(f"fd_delta: {service.fds() - self.fds}, allowed {allowed}")


def run(check, target):
    case = check.case
    if target.setup:
        target.setup.warm()
    if check.take("split_every_offset"):
        return split_everywhere(check, target)
    measured = Measured(check, target.service)
    talk = Talk(target.port, rcvbuf=next((s["rcvbuf"] for s in case.get("steps", []) if "rcvbuf" in s), None))
    try:
        if "steps" in case:
            method = steps(check, target, talk)
        else:
            method = whole(check, target, talk)
        check.at_most("max_ms", talk.closed_ms or talk.ms() - QUIET_S * 1000, "ms")
        judge(check, target, talk, method)
        measured.judge()
    finally:
        talk.close()


def whole(check, target, talk):
    """All bytes at once. Gives the method, for the reader of the answers."""
    data = payload(check.case, target)
    method = data.split(b" ", 1)[0].decode("latin-1")
    outbound = Outbound(check, target)
    talk.send(data)
    if check.take("half_close"):
        talk.half_close()
    if check.expect.get("close"):
        talk.wait(20 if check.expect.get("no_answer_ok") else CLOSE_S)
    else:
        talk.wait(15, lambda t: t.has(check.expect.get("responses") or 1, (method,)))
        talk.wait(QUIET_S)
    outbound.judge()
    return method


class Outbound:
    """Connections of the service to anywhere but its upstreams."""

    def __init__(self, check, target):
        self.check, self.target = check, target
        self.wanted = check.take("no_outbound_connect") and target.setup
        self.contacts = target.setup.trap.contacts if target.setup else 0

    def judge(self):
        if not self.wanted:
            return
        ours = {stub.port for stub in self.target.setup.stubs.values()} | {self.target.setup.issuer.port}
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            for local, address, port in self.target.service.sockets():
                if local != self.target.port and address not in ("0.0.0.0",) and port not in ours:
                    return self.check.fault(f"no_outbound_connect: the gateway connects to {address}:{port}")
        self.check.hold(self.target.setup.trap.contacts == self.contacts, "no_outbound_connect: the listener was contacted")


def steps(check, target, talk):
    method, expected = "GET", 0
    for step in check.case["steps"]:
        if talk.closed:
            break
        if "send_b64" in step:
            data = target.fill(base64.b64decode(step["send_b64"]))
            method = method if talk.data else data.split(b" ", 1)[0].decode("latin-1")
            talk.send(data)
        elif "expect_status" in step:
            talk.wait(step["within_ms"] / 1000, lambda t: len(answers_of(t.data, (method,))[0]) > expected)
            seen = [a.status for a in talk.answers((method,))][expected:]
            check.hold(seen[:1] and seen[0] in step["expect_status"], f"within {step['within_ms']} ms: {seen}")
            expected += 1
        elif "drip_b64" in step:
            drip(target.fill(base64.b64decode(step["drip_b64"])), step["every_ms"] / 1000, talk)
        elif "idle_ms" in step:
            talk.wait(step["idle_ms"] / 1000)
        elif "expect_closed_within_ms" in step:
            talk.wait(max(0, step["expect_closed_within_ms"] - talk.ms()) / 1000)
        elif "no_read_ms" in step:
            leave_unread(step["no_read_ms"] / 1000, target, talk)
        elif "rst" in step:
            wait_for("the request reaches its upstream", 5, target.setup.of_clients)
            talk.reset()
            talk.closed, talk.closed_ms = True, talk.ms()
        else:
            assert set(step) == {"rcvbuf"}, f"unknown step {step}"
    if not talk.closed:
        talk.wait(10, lambda t: t.has(1, (method,)))
        talk.wait(QUIET_S if not check.expect.get("close") else CLOSE_S)
    return method


def drip(data, every_s, talk):
    for at in range(len(data)):
        if talk.closed:
            return
        talk.send(data[at:at + 1])
        talk.wait(every_s)


def leave_unread(seconds, target, talk):
    """Never reads; what tells that the server let go is its own socket."""
    mine = (target.port, "127.0.0.1", talk.port)
    wait_for("the server takes the connection", 5, lambda: mine in target.service.sockets())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if mine not in target.service.sockets():
            talk.closed_ms = talk.ms()
            break
        time.sleep(0.25)
    talk.unread = True
    talk._read()


def judge(check, target, talk, method):
    answers, rest = answers_of(talk.data, (method,), talk.closed)
    finals = [a for a in answers if a.status >= 200]
    check.got = ", ".join(map(str, answers[:3])) or repr(talk.data[:60])
    check.got += f" ({len(answers)} answers, {'closed' if talk.closed else 'open'} after {talk.closed_ms or talk.ms():.0f} ms)"
    judge_statuses(check, answers, finals)
    if check.take("close"):
        check.hold(talk.closed, "close: the connection stays open")
    between = check.take("closed_between_ms")
    if between:
        check.hold(talk.closed_ms is not None and between[0] <= talk.closed_ms <= between[1],
                   f"closed_between_ms {between}: {talk.closed_ms}")
    check.hold(not rest or hasattr(talk, "unread"), f"bytes after the answers: {rest[:60]!r}")
    length = check.take("body_len")
    if length is not None:
        check.hold(all(len(a.body) == length for a in finals), f"body_len: {[len(a.body) for a in finals]}")
    check.errors_are_whole(finals, method)
    if target.setup:
        judge_upstream(check, target, answers)
    else:
        for name in UPSTREAM:
            check.take(name)


def judge_statuses(check, answers, finals):
    allowed, silent = check.take("status"), check.take("no_answer_ok")
    never = check.take("never_status") or []
    check.hold(not any(a.status in never for a in answers), f"never_status {never}")
    wanted = check.take("responses")
    if not answers and silent:
        return
    counted = answers if wanted == 2 and 100 in allowed else finals
    check.hold(counted and all(a.status in allowed for a in counted), f"status {[a.status for a in answers][:5]}")
    if wanted is not None:
        check.hold(len(counted) == wanted, f"responses: {len(counted)}, expected {wanted}")


def is_streamed(case, seen):
    """The fault is in a body that the gateway passes on as it comes: the upstream
    may see the request begin, but never end. A head that can be refused as a
    whole may not get there at all."""
    return "steps" in case or any(r.all("Transfer-Encoding") for r in seen)


def judge_upstream(check, target, answers):
    count = check.take("upstream_requests")
    if count == 0:
        time.sleep(0.02)  # what was sent on before the refusal has arrived
    seen = target.setup.of_clients()
    if is_streamed(check.case, seen):
        seen = [r for r in seen if r.whole]
    if count is not None:
        check.hold(len(seen) == count, f"upstream_requests: {[f'{r.method} {r.path}'[:60] for r in seen]}, expected {count}")
    for name in ("never_upstream", "never_executed"):
        for needle in check.take(name) or []:
            # as a whole word: "X-T" is not in "X-Tenant-ID"
            pattern = re.compile(re.escape(needle.encode()) + rb"(?![0-9A-Za-z])")
            check.hold(not any(pattern.search(r.raw) for r in target.setup.of_clients()), f"{name}: {needle!r} reached an upstream")
    if check.take("forbidden") and answers and answers[0].status < 400:
        paths = [r.path for r in seen]
        check.hold(len(answers) == 2 and paths.count("/v1/catalog/public") == 1, f"the trailer changed the framing: {paths}")
    status = check.take("log_status")
    if status is not None:
        line = target.service.log_line(lambda item: item.get("statusCode") == status)
        check.hold(line, f"no log line with statusCode {status}")
        left = [r for r in seen if hasattr(r, "cancelled_after")]
        wait_for("the upstream request is cancelled", 3, lambda: left and left[0].cancelled_after is not None)


def split_everywhere(check, target):
    data, seen = payload(check.case, target), {}
    for cut in range(1, len(data)):
        talk = Talk(target.port)
        talk.send(data[:cut])
        talk.wait(0.004)
        talk.send(data[cut:])
        talk.wait(5)
        key = tuple(a.status for a in talk.answers(("POST",)))
        seen.setdefault(key, []).append(cut)
        talk.close()
    check.got = str({k: len(v) for k, v in seen.items()})
    check.hold(len(seen) == 1, f"the answer depends on the offset: { {k: v[:5] for k, v in seen.items()} }")
    key = next(iter(seen))
    check.hold(len(key) == check.take("responses") and set(key) <= set(check.take("status")), f"answers {key}")
    posts = target.setup.of_clients()
    check.hold(len(posts) == len(data) - 1, f"{len(posts)} upstream requests for {len(data) - 1}")
    judge_upstream(check, target, [])
    check.take("close")


def run_upstream_response(check, setup):
    """The upstream answers badly; the next client must see nothing of it."""
    case, stub = check.case, setup.stubs["admin"]
    setup.warm()
    target = Target(setup.gateway, setup.keys, setup)
    stub.override = (base64.b64decode(case["upstream_sends_b64"]), case.get("upstream_close", False))
    talk = Talk(target.port)
    try:
        talk.send(payload(case, target))
        talk.wait(10, lambda t: t.has(1))
        talk.wait(QUIET_S)
        stub.override = None
        answers, rest = answers_of(talk.data, ("GET",), talk.closed)
        check.got = ", ".join(map(str, answers)) or repr(talk.data[:60])
        check.hold(len(answers) == 1 and not rest, f"answers {[a.status for a in answers]}, then {rest[:60]!r}")
        check.take("responses")
        statuses, code = check.take("status"), check.take("error_code")
        if not answers:
            return
        first = answers[0]
        check.hold(first.status in statuses, "status")
        if first.status >= 400:
            check.hold(first.code == code, f"error_code {first.code}, expected {code}")
        if case.get("upstream_close") and first.status == 200:
            check.hold(not first.complete and talk.closed, "the cut answer looks whole to the client")
        check.hold(b"b=c" not in talk.data and b"poison" not in talk.data, "the upstream's injected bytes came through")
        check.errors_are_whole(answers)
        next_request_is_clean(check, setup, talk)
    finally:
        stub.override = None
        talk.close()


def next_request_is_clean(check, setup, talk):
    if not check.take("next_request_clean"):
        return
    if not talk.closed:
        before = len(talk.data)
        talk.send(b"GET /v1/catalog/public HTTP/1.1\r\nHost: gw.test\r\n\r\n")
        talk.wait(5, lambda t: t.has(2))
        last = answers_of(talk.data[before:], ("GET",), talk.closed)[0]
        check.hold([a.status for a in last] == [200] and last[0].json(), f"the next request on the connection: {list(map(str, last))}")
    for _ in range(3):
        answer, _ms = ask(setup.port, "GET", "/v1/catalog/public")
        check.hold(answer.status == 200 and answer.json() == {"data": [], "meta": {"page": 1, "limit": 20, "total": 0}},
                   f"the next client: {answer} {answer.body[:60]!r}")
