#!/usr/bin/env python3
"""Targets that fail and recover, and who gets the requests meanwhile. Starts
gateways of its own with the program that runs it:
tests/support/captive gateway tests/http/gateway_health.py"""
import json
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, run_tests, send, until  # noqa: E402


class Target:
    """An upstream whose answers and whose health a test sets."""

    def __init__(self):
        self.server, self.status, self.health, self.hold, self.lag = Upstream(), 200, 200, None, 0
        self.server.rules["/health"] = lambda wire, head: send(wire, self.health, b"")
        self.server.rules["/"] = self.answer
        self.address = f"127.0.0.1:{self.server.port}"

    def answer(self, wire, head):
        wire.body(head)
        threading.Event().wait(self.lag)
        if self.hold is not None:
            self.hold.wait(20)
        send(wire, self.status, self.address.encode())
        return None


def config(upstream, targets, retries=0, weights=(), patience=5000):
    weights = list(weights) + [100] * (len(targets) - len(weights))
    upstream = dict({"name": "u", "targets": [{"target": target, "weight": weight} for target, weight in zip(targets, weights)]}, **upstream)
    return json.dumps({"_format_version": "3.0", "upstreams": [upstream], "services": [
        {"name": "s", "host": "u", "retries": retries, "read_timeout": patience, "routes": [
            {"name": "r", "paths": ["/"], "strip_path": False}]}]})


ACTIVE = {"type": "http", "http_path": "/health", "timeout": 1,
          "healthy": {"interval": 0.05, "successes": 2, "http_statuses": [200]},
          "unhealthy": {"interval": 0.05, "http_failures": 2, "tcp_failures": 2, "timeouts": 2, "http_statuses": [500, 503]}}


def with_gateway(test):
    def run(upstream, targets, **more):
        gateway = Gateway(config(upstream, [target.address for target in targets], **more))
        try:
            test(gateway, *targets)
        finally:
            gateway.stop()
            for target in targets:
                target.server.stop()
    return run


def health(gateway):
    answer = gateway.call("GET", "/upstreams/u/health", admin=True)
    assert answer.status == 200, (answer.status, answer.body)
    return answer.json()


def states(gateway):
    return {target["target"]: target["health"] for target in health(gateway)["data"]}


def reason(gateway, target):
    return next(entry["data"]["addresses"][0] for entry in health(gateway)["data"] if entry["target"] == target.address)


def who(gateway, n=1, headers=(), path="/x"):
    answers = [gateway.call("GET", path, headers) for _ in range(n)]
    assert all(answer.status == 200 for answer in answers), [answer.status for answer in answers]
    return [answer.body.decode() for answer in answers]


def metric(gateway, line):
    return line in gateway.call("GET", "/metrics", admin=True).body.decode()


# ---- active ------------------------------------------------------------------


def test_a_target_that_fails_its_probes_gets_no_requests_until_it_is_well_again():
    @with_gateway
    def test(gateway, one, two):
        assert set(who(gateway, 4)) == {one.address, two.address}
        one.health = 503
        until(lambda: states(gateway)[one.address] == "UNHEALTHY", 10, "an unhealthy target")
        assert states(gateway)[two.address] == "HEALTHY"
        assert reason(gateway, one)["reason"] == "answered 503", reason(gateway, one)
        assert set(who(gateway, 8)) == {two.address}
        label = f'upstream="u",target="{one.address}",address="{one.address}",state='
        assert metric(gateway, f'kong_upstream_target_health{{{label}"unhealthy",subsystem="http"}} 1')
        assert metric(gateway, 'state="healthy",subsystem="http"} 1')
        one.health = 200
        until(lambda: states(gateway)[one.address] == "HEALTHY", 10, "a healthy target")
        assert set(who(gateway, 4)) == {one.address, two.address}
        assert metric(gateway, f'kong_upstream_target_health{{{label}"unhealthy",subsystem="http"}} 0')
        until(lambda: [gateway.logged().count(f"target is {word}") for word in ("unhealthy", "healthy")] == [1, 1], 10, "two log lines")
    test({"healthchecks": {"active": ACTIVE}}, [Target(), Target()])


def test_probes_that_only_connect_see_a_closed_port():
    @with_gateway
    def test(gateway, one, two):
        one.server.stop()
        until(lambda: states(gateway)[one.address] == "UNHEALTHY", 10, "an unhealthy target")
        assert "could not be reached" in reason(gateway, one)["reason"]
        assert set(who(gateway, 4)) == {two.address}
        one.server = Upstream(one.server.port)
        until(lambda: states(gateway)[one.address] == "HEALTHY", 10, "a healthy target")
    test({"healthchecks": {"active": dict(ACTIVE, type="tcp")}}, [Target(), Target()])


def test_a_target_that_does_not_answer_its_probes_is_unhealthy_for_that():
    @with_gateway
    def test(gateway, one, two):
        gone = threading.Event()
        one.server.rules["/health"] = lambda wire, head: gone.wait(20) and False
        until(lambda: states(gateway)[one.address] == "UNHEALTHY", 10, "an unhealthy target")
        assert reason(gateway, one)["reason"] == "no answer in time"
        gone.set()
    test({"healthchecks": {"active": dict(ACTIVE, timeout=0.1)}}, [Target(), Target()])


def test_when_all_are_unhealthy_all_are_tried_and_that_is_counted():
    @with_gateway
    def test(gateway, one, two):
        one.health = two.health = 500
        until(lambda: set(states(gateway).values()) == {"UNHEALTHY"}, 10, "unhealthy targets")
        assert health(gateway)["balancer"]["panic"] is True
        assert set(who(gateway, 4)) == {one.address, two.address}
        assert metric(gateway, 'kong_upstream_panic_total{upstream="u"} 4')
    test({"healthchecks": {"active": ACTIVE}}, [Target(), Target()])


def test_with_a_threshold_in_the_file_too_few_healthy_targets_are_none():
    @with_gateway
    def test(gateway, one, two):
        assert set(who(gateway, 2)) == {one.address, two.address}
        one.health = 500
        until(lambda: states(gateway)[one.address] == "UNHEALTHY", 10, "an unhealthy target")
        answer = gateway.call("GET", "/x")
        assert answer.status == 503 and answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        balancer = health(gateway)["balancer"]
        assert balancer["health"] == "UNHEALTHY" and balancer["panic"] is False, balancer
        assert balancer["weight"] == {"total": 200, "available": 100, "unavailable": 100}
        one.health = 200
        until(lambda: gateway.call("GET", "/x").status == 200, 10, "recovery")
    test({"healthchecks": {"active": ACTIVE, "threshold": 50}}, [Target(), Target()])


def test_the_state_of_a_target_outlives_a_reload_and_new_targets_are_healthy():
    @with_gateway
    def test(gateway, one, two):
        one.health = 503
        until(lambda: states(gateway)[one.address] == "UNHEALTHY", 10, "an unhealthy target")
        three = Target()
        for _ in range(5):
            gateway.reload(config({"healthchecks": {"active": ACTIVE}}, [one.address, three.address]))
            assert states(gateway) == {one.address: "UNHEALTHY", three.address: "HEALTHY"}
        assert set(who(gateway, 4)) == {three.address}
        label = f'upstream="u",target="{two.address}",address="{two.address}",state='
        assert not metric(gateway, f'{{{label}"healthy"}} 1')
        gateway.reload(config({}, [one.address, three.address]))
        assert set(states(gateway).values()) == {"HEALTHCHECKS_OFF"}
        assert set(who(gateway, 4)) == {one.address, three.address}
        three.server.stop()
    test({"healthchecks": {"active": ACTIVE}}, [Target(), Target()])


def test_a_request_in_flight_to_a_removed_target_ends_well():
    @with_gateway
    def test(gateway, one, two):
        one.hold, got = threading.Event(), []
        waiting = threading.Thread(target=lambda: got.append(gateway.call("GET", "/x").body.decode()))
        waiting.start()
        until(lambda: one.server.seen or two.server.seen, 10, "a request")
        if two.server.seen:
            waiting.join()
            waiting = threading.Thread(target=lambda: got.append(gateway.call("GET", "/x").body.decode()))
            waiting.start()
            until(lambda: one.server.seen, 10, "a request")
        gateway.reload(config({}, [two.address]))
        assert set(who(gateway, 4)) == {two.address}
        one.hold.set()
        waiting.join()
        assert got[-1] == one.address
    test({}, [Target(), Target()])


# ---- passive -----------------------------------------------------------------


PASSIVE = {"healthy": {"successes": 1},
           "unhealthy": {"http_failures": 2, "tcp_failures": 2, "timeouts": 2, "recover_after": 60}}


def test_answers_to_requests_take_a_target_out_and_an_operator_brings_it_back():
    @with_gateway
    def test(gateway, one, two):
        one.status = 503
        seen = [gateway.call("GET", "/x").status for _ in range(12)]
        assert seen.count(503) == 2, seen
        assert states(gateway) == {one.address: "UNHEALTHY", two.address: "HEALTHY"}
        one.status = 200
        assert set(who(gateway, 4)) == {two.address}
        put = gateway.call("PUT", f"/upstreams/u/targets/{one.address}/healthy", admin=True)
        assert put.status == 204, put.status
        assert set(who(gateway, 4)) == {one.address, two.address}
        assert gateway.call("PUT", f"/upstreams/u/targets/{one.address}/unhealthy", admin=True).status == 204
        assert set(who(gateway, 4)) == {two.address} and reason(gateway, one)["reason"] == "set by an operator"
        assert gateway.call("PUT", "/upstreams/u/targets/10.0.0.1:1/healthy", admin=True).status == 404
        assert gateway.call("GET", f"/upstreams/u/targets/{one.address}/healthy", admin=True).status == 405
        assert gateway.call("GET", "/upstreams/none/health", admin=True).status == 404
    test({"healthchecks": {"passive": PASSIVE}}, [Target(), Target()])


def test_failures_with_successes_between_take_nothing_out():
    @with_gateway
    def test(gateway, one):
        for status in (503, 200, 503, 200, 503, 200, 429, 429, 429):
            one.status = status
            assert gateway.call("GET", "/x").status == status
        assert states(gateway) == {one.address: "HEALTHY"}
    test({"healthchecks": {"passive": PASSIVE}}, [Target()])


def test_a_target_that_answers_too_late_is_taken_out():
    @with_gateway
    def test(gateway, one, two):
        one.hold = threading.Event()
        seen = [gateway.call("GET", "/x").status for _ in range(8)]
        assert seen.count(504) == 2, seen
        assert reason(gateway, one)["reason"] == "no answer in time"
        one.hold.set()
    test({"healthchecks": {"passive": PASSIVE}}, [Target(), Target()], patience=300)


def test_without_probes_a_target_is_tried_again_after_a_while():
    @with_gateway
    def test(gateway, one, two):
        one.status = 503
        seen = [gateway.call("GET", "/x").status for _ in range(8)]
        assert seen.count(503) == 2, seen
        until(lambda: states(gateway)[one.address] == "HEALTHY", 10, "a return")
        seen = [gateway.call("GET", "/x").status for _ in range(6)]
        assert seen.count(503) == 1, seen
        one.status = 200
        until(lambda: one.address in who(gateway, 2), 10, "requests")
    test({"healthchecks": {"passive": dict(PASSIVE, unhealthy=dict(PASSIVE["unhealthy"], recover_after=1))}}, [Target(), Target()])


# ---- choosing ----------------------------------------------------------------


def test_weights_decide_how_often_a_target_has_its_turn():
    @with_gateway
    def test(gateway, one, two, three):
        got = who(gateway, 12)
        assert got.count(one.address) == 9 and got.count(two.address) == 3 and three.address not in got, got
    test({}, [Target(), Target(), Target()], weights=(75, 25, 0))


def test_least_connections_prefers_who_has_less_to_do():
    @with_gateway
    def test(gateway, one, two):
        one.hold = threading.Event()
        threads = []
        while not one.server.seen:
            threads.append(threading.Thread(target=gateway.call, args=("GET", "/x")))
            threads[-1].start()
            until(lambda: len(one.server.seen) + len(two.server.seen) == len(threads), 10, "a request")
            if not one.server.seen:
                threads[-1].join()
        assert who(gateway, 6) == [two.address] * 6
        one.hold.set()
        for thread in threads:
            thread.join()
        assert set(who(gateway, 6)) == {one.address, two.address}
    test({"algorithm": "least-connections"}, [Target(), Target()])


def test_latency_prefers_who_answers_sooner_and_asks_the_other_now_and_then():
    def run(gateway, quick, lame):
        lame.lag = 0.03
        got = [gateway.call("GET", "/x").body.decode() for _ in range(60)]
        assert got.count(quick.address) > 40 and got.count(lame.address) >= 1, (got.count(quick.address), got.count(lame.address))
    with_gateway(run)({"algorithm": "latency"}, [Target(), Target()])


def test_a_hash_of_a_header_keeps_its_target_and_moves_only_while_that_is_out():
    @with_gateway
    def test(gateway, *targets):
        keys = [[("X-Key", f"k{number}")] for number in range(24)]
        first = [who(gateway, 1, key)[0] for key in keys]
        assert len(set(first)) == 3
        assert [who(gateway, 1, key, "/y")[0] for key in keys] == first
        out = next(target for target in targets if target.address == first[0])
        assert gateway.call("PUT", f"/upstreams/u/targets/{out.address}/unhealthy", admin=True).status == 204
        moved = [who(gateway, 1, key)[0] for key in keys]
        assert out.address not in moved
        assert all(now == before for now, before in zip(moved, first) if before != out.address)
        assert gateway.call("PUT", f"/upstreams/u/targets/{out.address}/healthy", admin=True).status == 204
        assert [who(gateway, 1, key)[0] for key in keys] == first
        fallback = {who(gateway, 1, (), f"/x?k={number}")[0] for number in range(12)}
        assert len(fallback) > 1 and len(set(who(gateway, 6, (), "/x?a&k=5&b=1"))) == 1
        assert len(set(who(gateway, 6))) == 3
    test({"algorithm": "consistent-hashing", "hash_on": "header", "hash_on_header": "X-Key", "hash_fallback": "query_arg",
          "hash_fallback_query_arg": "k", "slots": 1000, "healthchecks": {"passive": PASSIVE}}, [Target(), Target(), Target()])


def test_a_client_without_the_cookie_gets_one_and_comes_back_to_its_target():
    @with_gateway
    def test(gateway, *targets):
        for _ in range(4):
            answer = gateway.call("GET", "/x")
            cookie = answer.head.get("Set-Cookie")
            name, rest = cookie.split("=", 1)
            assert name == "seat" and rest.endswith("; Path=/; SameSite=Lax; HttpOnly"), cookie
            again = [gateway.call("GET", "/x", [("Cookie", f"a=b; seat={rest.split(';')[0]}")]) for _ in range(4)]
            assert all(one.body == answer.body and one.head.get("Set-Cookie") is None for one in again)
    test({"algorithm": "consistent-hashing", "hash_on": "cookie", "hash_on_cookie": "seat"}, [Target(), Target(), Target()])


def test_a_retry_goes_to_another_target():
    @with_gateway
    def test(gateway, one, two):
        one.hold = threading.Event()
        assert who(gateway, 4) == [two.address] * 4
        one.hold.set()
    test({}, [Target(), Target()], retries=1, patience=300)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
