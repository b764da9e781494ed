"""rate_limit: exactness, evasion, and Redis that is dead, slow or wrong. Each
case has callers of its own (a subject, or an address of 127/8), so that all
share one gateway and none waits for the window of another."""

import pathlib
import random
import re
import struct
import subprocess
import sys
import threading
import time

from .services import ROOT, Service
from .setups import KONG, StubSetup, gateway_environment, wait_for
from .tokens import AUDIENCE, ISSUER, ORG, PERSONAS, ROLES
from .wire import Talk, ask, request_bytes

sys.path.insert(0, str(ROOT / "tests/support"))
from fault_proxy import FaultProxy  # noqa: E402
from oidc_rig import Redis  # noqa: E402

LIMIT = {"user_free": 100, "user_a": 500, "user_pro": 500, "admin": 10000, "anon": 500}
PLANS = {"user_free": ("free", ("user",)), "user_pro": ("pro", ("user", "subscriber_pro"))}
PROXY_ADDRESS = "127.0.0.9"  # trusted to name its client
BATCH = 50                   # requests in one piece on a connection
SHORT_S = 3                  # the window of cases that wait for its end
MANY = 200_000               # addresses; the table holds 65,536
KEYS = """_format_version: "3.0"
consumers:
  - username: owner
    tags: ["plan:free"]
    keyauth_credentials: [{key: one-0123456789abcdef}, {key: two-0123456789abcdef}]
services:
  - name: keyed
    url: http://127.0.0.1:PORT
    routes:
      - name: keyed
        paths: [/v1/stacks]
        strip_path: false
    plugins:
      - name: key-auth
      - name: rate-limiting-advanced
        config: {identifier: jwt_claim_plan, limit: [100, 500, 1000], window_size: [3600, 3600, 3600]}
"""


class LimitSetup(StubSetup):
    """Stubs, and a gateway with the limits of kong.yml. Windows are an hour, so
    that none ends in the middle of a case, or SHORT_S for those about its end.
    Redis stands behind a proxy that can misbehave."""

    def __init__(self, keys):
        folder = pathlib.Path(keys.folder) / "limits"
        folder.mkdir()
        self.redis = Redis(folder)
        self.proxy = FaultProxy(self.redis.port)
        self.limits_folder, self.others, self.groups = folder, {}, {}
        super().__init__(keys)

    def start_gateway(self, ports, jwks_url):
        self.ports, self.jwks_url = ports, jwks_url
        self.gateway = self.keep(self.another("first"))
        self.port = self.gateway.port

    def another(self, name, window_s=3600, file=None, group=None, **more):
        """One more gateway at the same Redis, in a database of its own or of its
        group: those in one database are replicas of each other."""
        if name not in self.others:
            folder = self.limits_folder / name
            folder.mkdir()
            environment = gateway_environment(folder, self.ports, self.jwks_url)
            text = file or re.sub(r"window_size: \[60(, 60)*\]", lambda m: m[0].replace("60", str(window_s)), KONG.read_text())
            text = text.replace("interval: 10,", "interval: 1,").replace("interval: 10\n", "interval: 1\n")
            pathlib.Path(environment["KONG_DECLARATIVE_CONFIG"]).write_text(text)
            database = self.groups.setdefault(group or name, len(self.groups))
            environment.update({"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self.proxy.port), "REDIS_DATABASE": str(database),
                                "KOMBI_TRUSTED_PROXIES": PROXY_ADDRESS, "KOMBI_WORKERS": "2", **more})
            self.others[name] = Service("gateway", environment, self.keys.secret_file)
            if file is None:
                wait_for(f"{name} knows the issuer's keys", 10, lambda: self.call(self.others[name], "user_a", f"warm-{name}", 1)[0].status == 200)
                wait_for(f"{name} shares its limits", 10, lambda: self.metric(self.others[name], "kombi_limits_shared") == 1)
        return self.others[name]

    def __exit__(self, *exc):
        for name, gateway in self.others.items():
            if name != "first":
                gateway.stop()
        super().__exit__(*exc)
        self.proxy.stop()
        self.redis.stop()

    @staticmethod
    def metric(gateway, name):
        text = ask(gateway.start["adminPort"], "GET", "/metrics", host="localhost")[0].body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0

    def stack_answers(self, request):
        if request.path == "/health" and getattr(self, "redirects_health", False):
            return 302, b""
        return 200, {"data": []}

    def admin_answers(self, request):
        if request.path.startswith("/v1/catalog/public"):
            return 200, {"data": []}
        return super().admin_answers(request)

    # ---- callers -----------------------------------------------------------------

    def bearer(self, persona, who, alg="RS256", skew=0, **more):
        """A token of a subject of the case's own."""
        plan, roles = PLANS.get(persona, (None, None))
        if plan is None:
            _, _, _, org, roles, plan = PERSONAS[persona]
        else:
            org = "org_a"
        claims = {"iss": ISSUER, "sub": f"{persona}-{who}", "aud": [AUDIENCE], "iat": "$now", "exp": "$now+1800", ORG: org,
                  ROLES: {role: {} for role in roles}, "plan": plan, **more}
        key = {"RS256": ("k-rsa-1", "rsa"), "ES256": ("k-ec-1", "ec")}[alg]
        case = {"header": {"alg": alg, "typ": "JWT", "kid": key[0]}, "claims": claims, "sign": {"alg": alg, "key": key[1]}}
        from .tokens import jwt_build
        return jwt_build.build(case, self.keys.keys, int(time.time()) + skew)

    def call(self, gateway, persona, who, count, **how):
        """`count` requests of one caller, in batches on connections of its own."""
        headers = how.pop("headers", None)
        auth = [] if persona == "anon" else [("Authorization", f"Bearer {self.bearer(persona, who, skew=how.pop('skew', 0))}")]
        return many(gateway.port, count, lambda i: [*auth, *(headers(i) if headers else [])],
                    source=address_of(who) if persona == "anon" else how.pop("source", "127.0.0.1"), **how)


def address_of(who):
    """An address of the case's own; a case of several callers has several."""
    number = sum(ord(c) * 31 ** i for i, c in enumerate(who)) % 60000
    return f"127.1.{number // 250}.{1 + number % 250}"


def many(port, count, headers, path="/v1/stacks", method="GET", source="127.0.0.1", each=None, batch=BATCH):
    """Answers to so many requests; `path` may be a function of the number, `each` is
    called before each batch."""
    answers, body = [], b"{}" if method == "POST" else b""
    made = path if callable(path) else lambda i: path
    while len(answers) < count:
        if each:
            each(len(answers))
        size = min(batch, count - len(answers))
        numbers = range(len(answers), len(answers) + size)
        talk = Talk(port, source)
        try:
            talk.send(b"".join(request_bytes(method, made(i), headers(i), body) for i in numbers))
            talk.wait(20, lambda t: t.has(size, (method,)))
            got = [a for a in talk.answers((method,)) if a.status >= 200]
        finally:
            talk.close()
        if not got:
            raise RuntimeError(f"no answer to {method} {made(numbers[0])}")
        answers += got  # after a refused head the connection ends: the rest is asked anew
        if len(got) < size and got[-1].status not in (400, 404, 405, 413, 414, 431):
            raise RuntimeError(f"{len(got)} of {size} answers, the last {got[-1]}")
    return answers


def passed(answers):
    return sum(a.status != 429 for a in answers)


def value_of(text, number):
    address = ".".join(str(random.randrange(1, 255)) for _ in range(4))
    return text.replace("$random_ip", address).replace("$random", f"{number}-{random.randrange(1 << 40):x}")


# ---- cases -----------------------------------------------------------------------


def run(check, setup):
    request, named = check.case["request"], check.named
    check.count = check.take("count")
    check.persona = request["as"].split(":")[0]
    kinds = [name for name in SPECIAL if name in named] or [n for n in (request["as"].split(":")[1:] or [""])]
    check.got = "as it should be"
    SPECIAL.get(kinds[0], plain)(check, setup)


def judge_statuses(check, answers):
    check.got = f"{passed(answers)} of {len(answers)} passed"
    allowed = check.take("status")
    wrong = [str(a) for a in answers if a.status not in allowed]
    check.hold(not wrong, f"status: {len(wrong)} times {wrong[:1]}")
    check.errors_are_whole([a for a in answers if a.status >= 400][:5])
    check.hold(all(int(a.header("retry-after") or 0) >= 1 for a in answers if a.status == 429), "429 without Retry-After")


def judge_counts(check, answers, limit):
    refused = sum(a.status == 429 for a in answers)
    least, most = check.take("status_429_min"), check.take("allowed_max")
    if least is not None:
        check.hold(refused >= least, f"status_429_min: {refused}")
        check.hold(passed(answers) == limit, f"{passed(answers)} passed, the limit is {limit}")
    if most is not None:
        check.hold(passed(answers) <= most, f"allowed_max: {passed(answers)}")
    exact = check.take("allowed_exact")
    if exact is not None:
        check.hold(passed(answers) == exact, f"allowed_exact: {passed(answers)}")
    factor = check.take("allowed_max_factor")
    if factor is not None:
        check.hold(passed(answers) <= factor * limit, f"allowed_max_factor: {passed(answers)} of {limit}")


def plain(check, setup):
    """Repeats a request, with a header or path that changes each time."""
    request = check.case["request"]
    answers = setup.call(setup.gateway, check.persona, check.id, check.count, method=request["method"],
                         path=lambda i: value_of(request["path"], i),
                         headers=lambda i: [(n, value_of(v, i)) for n, v in request.get("headers", [])])
    judge_statuses(check, answers)
    judge_counts(check, answers, LIMIT[check.persona])


def same_bucket(check, setup):
    """Who has used up /v1/stacks gets nothing by spelling it otherwise."""
    request, limit = check.case["request"], LIMIT[check.persona]
    check.take("status_429_min_of_accepted"), check.take("status")
    spent = setup.call(setup.gateway, check.persona, check.id, limit)
    check.hold(all(a.status == 200 for a in spent), "the limit itself does not pass")
    setup.book.clear()
    answers = setup.call(setup.gateway, check.persona, check.id, check.count, path=lambda i: value_of(request["path"], i))
    check.got = f"{sorted({a.status for a in answers})}"
    check.hold(not setup.of_clients(), f"{len(setup.of_clients())} requests went past the limit")
    check.hold(all(a.status in (429, 400, 404) for a in answers), "an answer that is neither 429 nor a refusal of the path")
    check.hold(passed(setup.call(setup.gateway, check.persona, check.id, 5)) == 0, "the bucket is open again")


def headers_consistent(check, setup):
    check.take("headers_consistent")
    answers = setup.call(setup.gateway, check.persona, check.id, check.count)
    left = [int(a.header("x-ratelimit-remaining")) for a in answers]
    check.hold(left == list(range(499, 499 - check.count, -1)), f"Remaining: {left[:5]} … {left[-3:]}")
    check.hold({a.header("x-ratelimit-limit") for a in answers} == {"500"}, "Limit")
    check.hold(all(0 < int(a.header("x-ratelimit-reset")) - time.time() <= 3601 for a in answers), "Reset")
    answers += setup.call(setup.gateway, check.persona, check.id, 500)
    judge_statuses(check, answers)


def body_code(check, setup):
    answers = setup.call(setup.gateway, check.persona, check.id, check.count)
    judge_statuses(check, answers)
    codes = {a.code for a in answers if a.status == 429}
    check.hold(codes == {check.take("body_code")}, f"codes {codes}")


def to_window(offset):
    """Waits until so many seconds before (negative) or after the begin of a short window."""
    now = time.time()
    time.sleep((offset - now) % SHORT_S)


def no_double_burst(check, setup):
    check.take("no_double_burst")
    gateway, auth = setup.another("short", SHORT_S), [("Authorization", f"Bearer {setup.bearer(check.persona, check.id)}")]
    due = time.monotonic()

    def pace(_sent):  # what a busy machine held up is not caught up with: that would be faster than the limit
        nonlocal due
        due = max(due + 10 * SHORT_S / 500, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))
    answers = many(gateway.port, check.count, lambda i: auth, each=pace, batch=10)
    judge_statuses(check, answers)
    check.hold(passed(answers) >= check.count * 0.99, f"steady at the limit: {check.count - passed(answers)} were cut")
    to_window(-0.4)
    burst = setup.call(gateway, check.persona, check.id + "-burst", 500)
    to_window(0.02)
    again = setup.call(gateway, check.persona, check.id + "-burst", 500)
    both = passed(burst) + passed(again)
    check.hold(passed(burst) == 500 and both <= 500 * 1.15, f"burst at the edge: {passed(burst)} and {passed(again)}")


def recovers(check, setup):
    check.take("recovers_within_s")
    gateway = setup.another("short", SHORT_S)
    answers = setup.call(gateway, check.persona, check.id, check.count)
    judge_statuses(check, answers)
    check.hold(passed(answers) <= 2 * 500, f"{passed(answers)} passed at once")
    end, first = time.monotonic() + SHORT_S + 1, None
    while first is None and time.monotonic() < end:  # and hammers on all the while
        if passed(setup.call(gateway, check.persona, check.id, 20)):
            first = time.monotonic()
    check.hold(first is not None, "who hammers on never gets in again")


def other_user(check, setup):
    check.take("other_user_unaffected")
    answers = setup.call(setup.gateway, check.persona, check.id, check.count)
    judge_statuses(check, answers)
    check.hold(passed(answers) == 500, f"{passed(answers)} passed")
    check.hold(passed(setup.call(setup.gateway, check.persona, check.id + "-other", 100)) == 100, "the other user is limited, too")


def new_tokens(check, setup):
    answers = many(setup.gateway.port, check.count, lambda i: [
        ("Authorization", f"Bearer {setup.bearer(check.persona, check.id, jti=str(i))}")])
    judge_statuses(check, answers)
    judge_counts(check, answers, LIMIT[check.persona])


def token_variants(check, setup):
    """RS256 and ES256 of one subject, its twin with the other s, other spellings."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    import base64
    first, second = setup.bearer(check.persona, check.id), setup.bearer(check.persona, check.id, alg="ES256")
    text, signature = second.rsplit(".", 1)
    raw = base64.urlsafe_b64decode(signature + "==")
    twin = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    spelled = ["Bearer " + first, "bearer " + first, "BEARER  " + first, "Bearer " + second,
               "Bearer " + text + "." + base64.urlsafe_b64encode(twin).rstrip(b"=").decode(), "Bearer " + first + "="]
    answers = many(setup.gateway.port, check.count, lambda i: [("Authorization", spelled[i % len(spelled)])])
    good = [a for a in answers if a.status not in (400, 401)]
    check.take("status")
    check.got = f"{passed(good)} of {len(good)} taken passed"
    check.hold(len(good) >= check.count / 2, "most spellings are refused")
    check.take("status_429_min")
    check.hold(passed(good) == LIMIT[check.persona], f"{passed(good)} passed")


def parallel(check, setup):
    """All heads are on their way before an answer is read."""
    wide, limit = check.take("parallel"), LIMIT[check.persona]
    raw = request_bytes("GET", "/v1/stacks", [("Authorization", f"Bearer {setup.bearer(check.persona, check.id)}")])
    talks = [Talk(setup.port) for _ in range(wide // 5)]
    for talk in talks:
        talk.send(raw * 5)
    for talk in talks:
        talk.wait(20, lambda t: t.has(5))
    answers = [a for talk in talks for a in talk.answers()]
    for talk in talks:
        talk.close()
    check.hold(len(answers) == check.count, f"{len(answers)} answers")
    judge_statuses(check, answers)
    judge_counts(check, answers, limit)


def together(setup, gateways, persona, who, count):
    answers, lock = [], threading.Lock()

    def one(gateway):
        got = setup.call(gateway, persona, who, count // len(gateways), batch=10)
        with lock:
            answers.extend(got)
    threads = [threading.Thread(target=one, args=(g,)) for g in gateways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def replicas(check, setup):
    gateways = [setup.another(f"replica-{i}", group="replicas", KOMBI_REPLICAS="3") for i in range(check.take("replicas"))]
    wait_for("all know of all", 5, lambda: all(setup.metric(g, "kombi_limits_replicas") >= 3 for g in gateways))
    limit = LIMIT[check.persona]
    # As a balancer deals them out, at a pace that nobody keeps by hand.
    answers = []
    while len(answers) < check.count:
        answers += setup.call(gateways[len(answers) // 5 % 3], check.persona, check.id, 5)
    judge_statuses(check, answers)
    judge_counts(check, answers, limit)
    # All three at the same instant, none having heard of the caller: the bound that window.h documents.
    cold = passed(together(setup, gateways, check.persona, check.id + "-cold", check.count))
    check.hold(cold <= limit + 2 * ((limit + 2) // 3), f"{cold} passed from cold")
    check.got += f"; {cold} from cold"


def clock_step(check, setup):
    file = setup.limits_folder / "clock_shift"
    file.write_bytes(struct.pack("q", 0))
    library = setup.limits_folder / "clock_shift.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, ROOT / "tests/attacks/tools/clock_shift.c", "-ldl"], check=True)
    gateway = setup.another("clock", LD_PRELOAD=str(library), CLOCK_SHIFT_FILE=str(file))
    answers = setup.call(gateway, check.persona, check.id, check.count // 2)
    step = check.take("clock_step_s")
    with open(file, "r+b") as out:
        out.write(struct.pack("q", step))
    answers += setup.call(gateway, check.persona, check.id, check.count // 2, skew=step)
    judge_statuses(check, answers)
    judge_counts(check, answers, LIMIT[check.persona])


# ---- Redis that is not well --------------------------------------------------------


def timed(setup, gateway, who, count):
    """(answers, milliseconds of each), one request after the other."""
    raw = request_bytes("GET", "/v1/stacks", [("Authorization", f"Bearer {setup.bearer('user_free', who)}")])
    talk, times = Talk(gateway.port), []
    for i in range(count):
        began = time.monotonic()
        talk.send(raw)
        talk.wait(20, lambda t: t.has(i + 1))
        times.append((time.monotonic() - began) * 1000)
    answers = talk.answers()
    talk.close()
    return answers, sorted(times)


def p99(times):
    return times[int(len(times) * 0.99)]


def again_well(setup, gateways):
    setup.proxy.set("pass")
    wait_for("Redis is shared again", 15, lambda: all(setup.metric(g, "kombi_limits_shared") == 1 for g in gateways))


def fault(check, setup):
    FAULTS[check.take("fault")](check, setup)


def flush(check, setup):
    answers = setup.call(setup.gateway, check.persona, check.id, 60)
    setup.redis.command("FLUSHALL")
    answers += setup.call(setup.gateway, check.persona, check.id, check.count - 60)
    judge_statuses(check, answers)
    judge_counts(check, answers, LIMIT[check.persona])


def down(check, setup):
    gateways = [setup.gateway, setup.another("second")]
    setup.proxy.set("down")
    try:
        wait_for("Redis is away", 10, lambda: all(setup.metric(g, "kombi_limits_shared") == 0 for g in gateways))
        answers, factor = [], check.take("allowed_max_factor_per_replica")
        for gateway in gateways:
            got = setup.call(gateway, check.persona, check.id, check.count // 2)
            check.hold(passed(got) <= factor * LIMIT[check.persona], f"{passed(got)} passed at one replica")
            answers += got
        judge_statuses(check, answers)
        check.at_most("p99_ms", p99(timed(setup, setup.gateway, check.id + "-t", 300)[1]), "ms")
    finally:
        again_well(setup, gateways)


def slow(check, setup):
    well = min(p99(timed(setup, setup.gateway, f"{check.id}-{i}", check.count)[1]) for i in range(3))
    setup.proxy.set("slow", cut=False)
    try:
        sick, answers = [], []
        for i in range(3):
            got, times = timed(setup, setup.gateway, f"{check.id}-slow-{i}", check.count)
            answers += got
            sick.append(p99(times))
        judge_statuses(check, answers)
        check.at_most("added_p99_ms", min(sick) - well, "ms")
        wait_for("the breaker is open", 10, lambda: setup.metric(
            setup.gateway, f'kombi_redis_breaker_opened_total{{server="127.0.0.1:{setup.proxy.port}/0"}}') >= 1)
    finally:
        again_well(setup, [setup.gateway])


def wrong_replies(check, setup):
    check.take("no_5xx")
    answers = []
    for mode in ("errors", "garbage"):
        setup.proxy.set(mode, cut=False)
        answers += setup.call(setup.gateway, check.persona, f"{check.id}-{mode}", check.count, batch=10, each=lambda _: time.sleep(0.01))
        again_well(setup, [setup.gateway])
    judge_statuses(check, answers)
    check.hold(passed(answers) <= 2 * LIMIT[check.persona], f"{passed(answers)} passed")


def scripts_flushed(check, setup):
    check.take("no_5xx")
    answers = setup.call(setup.gateway, check.persona, check.id, 50)
    setup.redis.command("SCRIPT", "FLUSH")
    answers += setup.call(setup.gateway, check.persona, check.id, check.count - 50, batch=10, each=lambda _: time.sleep(0.005))
    judge_statuses(check, answers)
    check.hold(passed(answers) == LIMIT[check.persona], f"{passed(answers)} passed")
    check.hold(setup.metric(setup.gateway, "kombi_limits_shared") == 1, "not shared any more")


def health_redirects(check, setup):
    """302 on /health is not healthy."""
    wanted = check.take("marked")
    judge_statuses(check, many(setup.port, check.count, lambda i: [], path="/health"))
    setup.redirects_health = True

    def state():
        return ask(setup.gateway.start["adminPort"], "GET", "/upstreams/stack-upstream/health", host="localhost")[0].body.decode().lower()
    try:
        wait_for(f"stack is {wanted}", 10, lambda: f'"{wanted}"' in state())
    finally:
        setup.redirects_health = False
        wait_for("stack is healthy again", 10, lambda: f'"{wanted}"' not in state())


FAULTS = {"redis_flush": flush, "redis_down": down, "redis_slow_2000ms": slow, "redis_error_replies": wrong_replies,
          "redis_script_flush": scripts_flushed, "upstream_health_302": health_redirects}


# ---- many callers ------------------------------------------------------------------


def many_addresses(check, setup):
    """Named by a trusted proxy, since a machine has not so many of its own."""
    gateway = setup.another("memory")
    call = lambda count, base: many(gateway.port, count, lambda i: [  # noqa: E731
        ("X-Forwarded-For", f"10.{base}.{i // 256 % 256}.{i % 256}"[:15] if i < 65536 else f"{11 + i // 65536}.{base}.{i // 256 % 256}.{i % 256}")],
        path="/v1/catalog/public", source=PROXY_ADDRESS, batch=100)
    call(2000, 1)
    before = gateway.memory()["VmRSS"]
    answers = call(MANY, 2)
    judge_statuses(check, answers[:1000])
    check.hold(passed(answers) == MANY, f"{MANY - passed(answers)} of those that came once were refused")
    grown = (gateway.memory()["VmRSS"] - before) / 1024
    check.at_most("rss_growth_mib_max", grown, "MiB")
    check.take("redis_keys_ttl")
    kept, expires = re.search(rf"db{setup.groups['memory']}:keys=(\d+),expires=(\d+)", setup.redis.command("INFO", "keyspace")).groups()
    # the mark of the whole is the one that stays
    check.hold(int(kept) > 1000 and int(kept) - int(expires) <= 1, f"of {kept} keys {expires} expire")
    setup.redis.command("FLUSHALL")


def one_network(check, setup):
    check.take("source")
    answers = many(setup.port, check.count, lambda i: [("X-Forwarded-For", f"2001:db8:7:8:{random.randrange(65536):x}::{i:x}")],
                   path="/v1/catalog/public", source=PROXY_ADDRESS)
    judge_statuses(check, answers)
    judge_counts(check, answers, LIMIT["anon"])


def nobody_else(check, setup):
    """An administrator's limit is high, but it is one, and his requests do not crowd out others."""
    check.take("no_other_user_impact")
    results = []
    thread = threading.Thread(target=lambda: results.extend(setup.call(setup.gateway, check.persona, check.id, check.count)))
    thread.start()
    answers, times = timed(setup, setup.gateway, check.id + "-other", 90)
    thread.join()
    judge_statuses(check, results + answers)
    check.hold(passed(answers) == 90 and times[-1] < 1000, f"the other user: {passed(answers)} of 90, slowest {times[-1]:.0f} ms")
    check.hold(results[-1].header("x-ratelimit-limit") == "10000", "no limit of administrators")


def two_keys(check, setup):
    """Documented: a limit is a consumer's, whatever key of his he shows."""
    check.take("documented")
    gateway = setup.another("keys", file=KEYS.replace("PORT", str(setup.stubs["stack"].port)))
    answers = many(gateway.port, check.count, lambda i: [("X-Api-Key", f"{('one', 'two')[i % 2]}-0123456789abcdef")])
    judge_statuses(check, answers)
    check.hold(passed(answers) == 100, f"{passed(answers)} passed")


SPECIAL = {"status_429_min_of_accepted": same_bucket, "headers_consistent": headers_consistent, "body_code": body_code,
           "no_double_burst": no_double_burst, "recovers_within_s": recovers, "other_user_unaffected": other_user,
           "parallel": parallel, "replicas": replicas, "clock_step_s": clock_step, "fault": fault,
           "rss_growth_mib_max": many_addresses, "source": one_network, "no_other_user_impact": nobody_else,
           "documented": two_keys, "new_token_each": new_tokens, "token_variants": token_variants}
