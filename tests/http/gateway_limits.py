#!/usr/bin/env python3
"""Limits that two gateways share through a real Redis, and what happens to
requests, limits, logs and metrics when Redis is dead, silent, slow, wrong or
empty: tests/support/captive gateway tests/http/gateway_limits.py"""
import json
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from fault_proxy import FaultProxy  # noqa: E402
from gateway_rig import Gateway, Issuer, Upstream, connect, request_bytes, run_tests, until  # noqa: E402
from oidc_rig import Redis  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-limits-test-"))
UPSTREAM, ISSUER, REDIS = Upstream(), Issuer(FOLDER), Redis(FOLDER)
PROXY = FaultProxy(REDIS.port)
LIMIT = 40

ROUTES = {
    "sliding": ("rate-limiting-advanced", {"identifier": "ip", "limit": [LIMIT], "window_size": [3600], "strategy": "redis"}),
    "fixed": ("rate-limiting", {"year": LIMIT, "limit_by": "ip", "policy": "redis"}),
    "load": ("rate-limiting-advanced", {"identifier": "ip", "limit": [1000000], "window_size": [3600], "strategy": "redis"}),
    "strict": ("rate-limiting", {"year": 1000, "limit_by": "ip", "policy": "redis", "fault_tolerant": False}),
    "named": ("rate-limiting-advanced", {"identifier": "ip", "limit": [LIMIT], "window_size": [3600], "redis_host": "127.0.0.1",
                                         "redis_port": PROXY.port, "redis_timeout": 2000, "fault_tolerant": True}),
    "device": ("rate-limiting-advanced", {"identifier": "header", "header_name": "X-Device", "limit": [LIMIT], "window_size": [3600],
                                          "strategy": "redis", "namespace": "devices", "hide_client_headers": True}),
    "devices": ("rate-limiting-advanced", {"identifier": "header", "header_name": "X-Device", "limit": [LIMIT], "window_size": [3600],
                                           "strategy": "redis", "namespace": "devices", "error_code": 430, "error_message": "Slowly",
                                           "retry_after_jitter_max": 5}),
    "several": ("rate-limiting-advanced", {"identifier": "ip", "limit": [9, 4, 7], "window_size": [86400, 60, 5000]}),
    "compound": ("rate-limiting-advanced", {"compound_identifier": ["header", "path"], "header_name": "X-Device", "path": "/compound/a",
                                            "limit": [1], "window_size": [3600], "window_type": "fixed"})}
PLANS = {"plans": {"identifier": "jwt_claim_plan", "limit": [2, 3, 4, 5], "window_size": [3600] * 4, "strategy": "redis"},
         "tiers": {"identifier": "jwt_claim_tier", "claim_values": ["basic", "gold"], "claim_default": "basic", "limit": [1, 3],
                   "window_size": [3600] * 2}}


def config():
    url, quick = f"http://127.0.0.1:{UPSTREAM.port}", {"read_timeout": 5000}
    routes = [{"name": name, "paths": [f"/{name}"], "plugins": [{"name": plugin, "config": conf}]}
              for name, (plugin, conf) in ROUTES.items()]
    closed = [{"name": name, "paths": [f"/{name}"], "plugins": [{"name": "rate-limiting-advanced", "config": conf}]}
              for name, conf in PLANS.items()]
    jwt = {"name": "jwt", "config": {"issuer": ISSUER.url, "jwks_uri": f"{ISSUER.url}/keys", "audience": ["kombify"]}}
    return json.dumps({"_format_version": "3.0", "services": [
        {"name": "open", "url": url, "routes": routes, **quick},
        {"name": "stack", "url": url, "routes": closed, "plugins": [jwt], **quick}]})


PAIR = []


def metric(gateway, name):
    found = re.findall(rf"^{re.escape(name)} (\S+)$", gateway.call("GET", "/metrics", admin=True).body.decode(), re.M)
    return float(found[0]) if found else 0


def shared():
    return all(metric(gateway, "kombi_limits_shared") == 1 for gateway in PAIR)


def alone():
    return all(metric(gateway, "kombi_limits_shared") == 0 for gateway in PAIR)


def back():
    PROXY.set("pass")
    until(shared, 20, "limits that are shared again")


def empty():
    """Nothing is counted, neither here nor there: new gateways, an empty Redis."""
    while PAIR:
        PAIR.pop().stop()
    REDIS.command("FLUSHALL")
    PROXY.set("pass")
    for _ in range(2):
        PAIR.append(Gateway(config(), REDIS_HOST="127.0.0.1", REDIS_PORT=str(PROXY.port), KOMBI_REPLICAS="2", KOMBI_WORKERS="2"))
    until(shared, 20, "shared limits")


def passed(path, tries, pause=0.0, headers=(), pair=None):
    """How many of so many requests, in turns at both gateways, pass."""
    statuses = []
    for number in range(tries):
        statuses.append((pair or PAIR)[number % len(pair or PAIR)].call("GET", path, headers).status)
        if pause:
            threading.Event().wait(pause)
    assert set(statuses) <= {200, 429, 430}, statuses
    return statuses.count(200)


# ---- sharing ----------------------------------------------------------------------


def test_two_gateways_let_the_limit_pass_once():
    empty()
    for path in ("/sliding", "/fixed", "/named"):
        count = passed(path, 3 * LIMIT, 0.006)
        assert LIMIT * 0.9 <= count <= LIMIT * 1.05, (path, count)
        # a while later each of them knows that all is spent
        until(lambda path=path: all(g.call("GET", path).head.get("X-RateLimit-Remaining") == "0" for g in PAIR), 5, "the other's count")
    replicas = [metric(gateway, "kombi_limits_replicas") for gateway in PAIR]
    assert replicas == [2, 2], replicas


def test_a_burst_at_both_stays_within_the_documented_bound():
    counts, lock = [], threading.Lock()

    def burst(gateway):
        wire = connect(gateway.url)
        wire.sock.sendall(request_bytes("GET", "/device", [("X-Device", "burst")]) * 60)
        statuses = []
        for _ in range(60):
            head = wire.head()
            wire.body(head)
            statuses.append(head.start.split()[1])
        with lock:
            counts.append(statuses.count("200"))
    threads = [threading.Thread(target=burst, args=(PAIR[i % 2],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert LIMIT * 0.5 <= sum(counts) <= LIMIT + (LIMIT + 1) // 2, counts  # limit + (replicas - 1) x ceil(limit / replicas)


def test_a_namespace_shares_counts_between_routes_and_a_key_is_never_in_redis():
    secret = ("X-Device", "a-device-that-nobody-may-read")
    assert passed("/device", 10, 0.01, [secret]) == 10
    calls = []

    def all_known():
        calls.append(PAIR[0].call("GET", "/devices", [secret]))
        return int(calls[-1].head.get("X-RateLimit-Remaining")) == LIMIT - 10 - len(calls)
    until(all_known, 3, "what the other gateway counted on the other route")
    assert PAIR[0].call("GET", "/device", [secret]).head.get("X-RateLimit-Limit") is None
    until(lambda: len(REDIS.command("KEYS", "rl:*")) > 2, 5, "counters in Redis")
    keys = REDIS.command("KEYS", "*")
    assert all(re.fullmatch(r"rl:[0-9a-f]{32}|rl:[0-9a-f]{16}:(replicas|epoch)", key) for key in keys), keys
    # nothing stays for ever, but the two marks of the whole
    assert all(int(REDIS.command("PTTL", key)) > 0 for key in keys if not key.endswith(":epoch"))
    status = [PAIR[0].call("GET", "/devices", [("X-Device", "other")]) for _ in range(2 * LIMIT)]
    refused = [answer for answer in status if answer.status != 200]
    assert refused and all(answer.status == 430 for answer in refused)
    assert all(answer.json()["error"]["message"] == "Slowly" and int(answer.head.get("Retry-After")) >= 1 for answer in refused)


# ---- what a rule means ------------------------------------------------------------


def test_of_several_windows_the_tightest_is_told_and_refusals_count_in_none():
    one = [PAIR[0]]
    answer = one[0].call("GET", "/several")
    told = {name: answer.head.get(name) for name in (
        "X-RateLimit-Limit-Minute", "X-RateLimit-Remaining-Minute", "X-RateLimit-Limit-5000", "X-RateLimit-Remaining-Day",
        "RateLimit-Limit", "RateLimit-Remaining", "X-RateLimit-Limit", "X-RateLimit-Remaining")}
    assert list(told.values()) == ["4", "3", "7", "8", "4", "3", "4", "3"], told
    assert 1 <= int(answer.head.get("RateLimit-Reset")) <= 60
    assert abs(int(answer.head.get("X-RateLimit-Reset")) - time.time() - int(answer.head.get("RateLimit-Reset"))) <= 2
    assert passed("/several", 20, pair=one) == 3
    last = one[0].call("GET", "/several")
    assert last.status == 429 and last.head.get("X-RateLimit-Remaining-Day") == "5" and last.head.get("X-RateLimit-Remaining") == "0"


def test_compound_identifiers_count_what_all_parts_say():
    call = lambda device, path: PAIR[0].call("GET", path, [("X-Device", device)]).status  # noqa: E731
    assert [call("a", "/compound/a"), call("a", "/compound/a"), call("b", "/compound/a"), call("a", "/compound/b")] == [200, 429, 200, 200]


def test_a_plan_comes_from_the_token_and_an_organisations_own_admin_is_none_of_ours():
    for roles, plan, limit in ((("user",), "free", 2), (("user",), "pro", 3), (("admin",), "free", 2), (("kombisphere_admin",), "free", 5),
                               (("admin:super",), "pro", 5), (("admin",), "nonsense", 2)):
        token = ISSUER.token(sub=f"{'-'.join(roles).replace(':', '-')}-{plan}", roles=roles, plan=plan)
        answer = PAIR[0].call("GET", "/plans", [("X-Subscription-Plan", "enterprise"), ("X-User-Roles", "admin:super")], token=token)
        assert answer.status == 200 and answer.head.get("X-RateLimit-Limit") == str(limit), (roles, plan, answer.head.fields)


def test_another_claim_may_pick_the_limit_and_a_false_one_picks_the_first():
    for tier, limit in (("gold", "3"), ("basic", "1"), ("golden", "1"), (7, "1"), (None, "1")):
        token = ISSUER.token(sub=f"tier-{tier}", **({"tier": tier} if tier is not None else {}))
        assert PAIR[0].call("GET", "/tiers", token=token).head.get("X-RateLimit-Limit") == limit, tier


# ---- when Redis is not well ---------------------------------------------------------


def times_of(gateway, seconds):
    """Milliseconds of requests on one connection, one after the other."""
    wire, times, data = connect(gateway.url), [], request_bytes("GET", "/load")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        wire.sock.sendall(data)
        head = wire.head()
        if head is None:  # it has had its number of requests
            wire = connect(gateway.url)
            continue
        wire.body(head)
        assert head.start.split()[1] == "200", head.start
        times.append((time.monotonic() - began) * 1000)
    wire.close()
    return sorted(times)


def p99(times):
    return times[int(len(times) * 0.99)]


def test_a_sick_redis_does_not_show_in_latency_and_leaves_one_line():
    # A command to Redis may take 100 ms here. Client, upstream and proxy share one Python process, which
    # alone makes some milliseconds.
    well = times_of(PAIR[0], 1.5)
    for mode in ("down", "silent", "slow", "garbage", "errors"):
        before = [gateway.logged() for gateway in PAIR]
        PROXY.set(mode, cut=mode in ("down", "garbage"))
        sick = sorted(times_of(PAIR[0], 0.3) + times_of(PAIR[0], 0.7))
        until(alone, 10, f"alone: {mode}")
        told = [f"{what} {times[len(times) // 2]:.2f}/{p99(times):.2f} ms" for what, times in (("well", well), (mode, sick))]
        print(f"# median/p99 {', '.join(told)}, slowest {sick[-1]:.1f} ms")
        assert sick[len(sick) // 2] <= 4 * well[len(well) // 2] + 1 and p99(sick) <= p99(well) + 40, told
        up = f'kombi_redis_up{{server="127.0.0.1:{PROXY.port}/0"}}'
        until(lambda: all(metric(gateway, up) == 0 for gateway in PAIR), 10, f"the metric of a Redis that is {mode}")
        back()
        for gateway, text in zip(PAIR, before):
            until(lambda: '"redis is back"' in gateway.logged()[len(text):], 5, "the line that Redis is back")
            said = re.findall(r'"redis is (?:down|back)".*', gateway.logged()[len(text):])
            assert len(said) == 2, (mode, said)
    assert all(metric(gateway, f'kombi_redis_breaker_opened_total{{server="127.0.0.1:{PROXY.port}/0"}}') >= 1 for gateway in PAIR)


def test_without_redis_each_lets_its_share_pass_and_with_it_nobody_more():
    empty()
    PROXY.set("down")
    until(alone, 10, "alone")
    counts = [passed("/sliding", 2 * LIMIT, pair=[gateway]) for gateway in PAIR]
    assert counts == [LIMIT // 2, LIMIT // 2], counts
    assert [passed("/fixed", 2 * LIMIT, pair=[gateway]) for gateway in PAIR] == [LIMIT // 2, LIMIT // 2]
    back()
    # what each had counted is known to both within a moment
    threading.Event().wait(0.3)
    assert passed("/sliding", 60, 0.006) <= 3 and passed("/fixed", 60, 0.006) <= 3


def test_who_wants_no_fallback_is_told_so():
    until(lambda: PAIR[0].call("GET", "/strict").status == 200, 5, "a shared count")
    PROXY.set("down")
    until(alone, 10, "alone")
    answer = PAIR[0].call("GET", "/strict")
    assert answer.status == 503 and answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE", answer.body
    assert answer.head.get("X-RateLimit-Limit") is None
    back()
    assert int(PAIR[0].call("GET", "/strict").head.get("X-RateLimit-Remaining")) >= 997


def test_a_flushed_redis_learns_again_what_was_counted():
    empty()
    assert passed("/sliding", LIMIT // 2, 0.01) == LIMIT // 2
    threading.Event().wait(0.2)
    REDIS.command("FLUSHALL")
    REDIS.command("SCRIPT", "FLUSH")
    count = LIMIT // 2 + passed("/sliding", 3 * LIMIT, 0.006)
    assert LIMIT * 0.85 <= count <= LIMIT * 1.1, count


def test_a_redis_that_died_and_came_back_is_told_everything():
    empty()
    first = passed("/fixed", LIMIT // 2, 0.01)
    REDIS.stop()
    until(alone, 10, "alone")
    between = passed("/fixed", 4)
    REDIS.start()
    until(shared, 20, "shared again")
    count = first + between + passed("/fixed", 3 * LIMIT, 0.006)
    assert LIMIT * 0.85 <= count <= LIMIT * 1.1, (first, between, count)


def main():
    try:
        return run_tests(globals())
    finally:
        while PAIR:
            PAIR.pop().stop()
        PROXY.stop()
        REDIS.stop()
        UPSTREAM.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
