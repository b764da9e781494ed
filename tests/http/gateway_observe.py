#!/usr/bin/env python3
"""What operators see of the gateway: metrics, the access log, traces at a
collector, security headers. Starts gateways of its own:
tests/support/captive gateway tests/http/gateway_observe.py"""
import http.server
import json
import pathlib
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, connect, request_bytes, run_tests, send, until  # noqa: E402

UPSTREAM = Upstream()
HEX32, HEX16 = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{16}")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEY = "observed-0123456789abcdef"

# ---- the exposition format, strictly ------------------------------------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (NaN|[+-]Inf|[-+0-9.e]+)\Z")


def parse(text):
    """{(name, labels): value}; an AssertionError for what is no exposition."""
    assert text.endswith("\n")
    samples, types, family = {}, {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in types, f"{family} comes twice"
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
        else:
            match = SAMPLE.match(line)
            assert match, f"no sample: {line}"
            name, labels = match.group(1), tuple(re.findall(LABEL, match.group(2) or ""))
            base = re.sub("_(bucket|sum|count)$", "", name) if types[family] == "histogram" else name
            assert base == family, f"{line} below {family}"
            assert len({key for key, _ in labels}) == len(labels), line
            assert (name, labels) not in samples, f"twice: {line}"
            samples[name, labels] = float(match.group(match.lastindex))
    for (name, labels), value in samples.items():
        if types.get(name) == "counter":
            assert value >= 0, name
    check_histograms(samples, types)
    return samples


def check_histograms(samples, types):
    rows = {}
    for (name, labels), value in samples.items():
        base = name[:-len("_bucket")] if name.endswith("_bucket") else None
        if types.get(base) == "histogram":
            rest = tuple(pair for pair in labels if pair[0] != "le")
            rows.setdefault((base, rest), []).append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
    for (base, labels), row in rows.items():
        assert [bound for bound, _ in row] == sorted(bound for bound, _ in row) and row[-1][0] == float("inf")
        assert [n for _, n in row] == sorted(n for _, n in row), (base, labels)
        assert row[-1][1] == samples[f"{base}_count", labels]


def scrape(gateway):
    answer = gateway.call("GET", "/metrics", admin=True)
    assert answer.status == 200 and answer.head.get("Content-Type").startswith("text/plain; version=0.0.4")
    return parse(answer.body.decode())


def total(samples, name, **labels):
    """Sum over the series with these labels."""
    return sum(value for (key, pairs), value in samples.items()
               if key == name and labels.items() <= dict(pairs).items())


# ---- a collector ----------------------------------------------------------------


class Collector:
    def __init__(self, status=200):
        self.got, self.status, self.heads = [], status, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heads.append(self.headers)
                if outer.status == 200:
                    outer.got.append(json.loads(body))
                self.send_response(outer.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self):
        return [span for body in self.got for part in body["resourceSpans"]
                for scope in part["scopeSpans"] for span in scope["spans"]]

    def of(self, trace):
        return [span for span in self.spans() if span["traceId"] == trace]


def attributes(thing):
    return {item["key"]: next(iter(item["value"].values())) for item in thing["attributes"]}


# ---- configuration --------------------------------------------------------------


def config(routes, plugins=(), url=None, consumers=()):
    def uses(table):
        return [{"name": name, "config": conf} for name, conf in table]
    return json.dumps({
        "_format_version": "3.0", "plugins": uses(plugins), "consumers": list(consumers),
        "services": [{"name": "svc", "url": url or f"http://127.0.0.1:{UPSTREAM.port}", "retries": 1, "routes": [
            {"name": name, "paths": [f"/{name}"], "strip_path": False, "plugins": uses(table)} for name, table in routes.items()]}]})


def running(text, test, **env):
    gateway = Gateway(text, **env)
    try:
        test(gateway)
    finally:
        gateway.stop()


# ---- metrics --------------------------------------------------------------------


def test_metrics_have_kongs_names_types_and_labels():
    def test(gateway):
        for _ in range(3):
            assert gateway.call("POST", "/fine", body=b"12345").status == 200
        gateway.call("GET", "/fine", [("apikey", KEY)])
        assert gateway.call("GET", "/nowhere").status == 404
        got = scrape(gateway)
        series = {"service": "svc", "route": "fine", "workspace": "default"}
        assert total(got, "kong_http_requests_total", **series, code="200", source="service", consumer="nobody") == 3
        assert total(got, "kong_http_requests_total", code="404", source="kong") == 1
        assert total(got, "kong_bandwidth_bytes", **series, direction="ingress") == 15
        assert total(got, "kong_bandwidth_bytes", **series, direction="egress") > 15
        for name in ("request", "kong", "upstream"):
            assert total(got, f"kong_{name}_latency_ms_count", **series) == 4, name
        assert total(got, "kong_nginx_connections_total", state="accepted", subsystem="http") >= 5
        assert total(got, "kong_nginx_requests_total", subsystem="http") >= 5
        assert total(got, "kong_datastore_reachable") == 1 and total(got, "kong_node_info") == 1
        assert total(got, "kong_nginx_metric_errors_total") == 0
        assert total(got, "process_resident_memory_bytes") > 1e6
        assert total(got, "kong_http_requests_total", **series, consumer="one") == 1
        assert total(got, "kong_bandwidth_bytes", **series, direction="egress", consumer="one") > 0
        assert total(got, "kong_http_requests_total", consumer="nobody") == 3
    auth = [("key-auth", {"anonymous": "nobody"}), ("prometheus", {"per_consumer": True, "latency_metrics": True})]
    consumers = [{"username": "one", "keyauth_credentials": [{"key": KEY}]}, {"username": "nobody"}]
    running(config({"fine": auth}, consumers=consumers), test)


def test_labels_are_bounded_and_routes_that_left_make_room():
    def routes(generation):
        return config({f"r{generation}x{i}": [] for i in range(100)})

    def test(gateway):
        for generation in range(4):
            gateway.reload(routes(generation))
            wire = connect(gateway.url)
            for i in range(100):
                wire.sock.sendall(request_bytes("GET", f"/r{generation}x{i}"))
                wire.body(wire.head())
            wire.close()
        got = scrape(gateway)
        names = {name for name, _ in got}
        for name in names:
            assert sum(key == name for key, _ in got) <= 256 * 20, name
        assert sum(key == "kong_http_requests_total" for key, _ in got) <= 256
        assert total(got, "kong_http_requests_total", route="__overflow__") == 0
        assert all(total(got, "kong_http_requests_total", route=f"r3x{i}") == 1 for i in range(100))
        assert total(got, "kong_http_requests_total", route="r0x0") == 0
        gateway.reload(config({f"many{i}": [] for i in range(400)}))
        for i in range(400):
            assert gateway.call("GET", f"/many{i}").status == 200
        got = scrape(gateway)
        assert sum(key == "kong_http_requests_total" for key, _ in got) <= 256
        assert total(got, "kong_http_requests_total", route="__overflow__") > 0
        assert total(got, "kong_nginx_metric_errors_total") > 0
    running(routes(0), test, KOMBI_METRIC_SERIES="256")


def test_counters_survive_a_reload():
    def test(gateway):
        gateway.call("GET", "/a")
        gateway.reload(config({"a": [], "b": []}))
        gateway.call("GET", "/a")
        assert total(scrape(gateway), "kong_http_requests_total", route="a") == 2
    running(config({"a": []}), test)


def test_scrapes_under_load_stay_consistent_and_do_not_stall_requests():
    def test(gateway):
        stop, sent, slow = threading.Event(), [0, 0, 0], []

        def load(n):
            wire = connect(gateway.url)
            while not stop.is_set():
                began = time.monotonic()
                wire.sock.sendall(request_bytes("GET", f"/s{sent[n] % 20}"))
                wire.body(wire.head())
                sent[n] += 1
                slow.append(time.monotonic() - began)
            wire.close()
        threads = [threading.Thread(target=load, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        before = -1
        end = time.monotonic() + 20
        while sum(sent) < 300 and time.monotonic() < end:
            now = total(scrape(gateway), "kong_http_requests_total", code="200")
            assert now >= before
            before = now
        stop.set()
        for thread in threads:
            thread.join()
        assert total(scrape(gateway), "kong_http_requests_total", code="200") == sum(sent)
        assert len(slow) >= 300 and sorted(slow)[len(slow) // 2] < 0.5
    running(config({f"s{i}": [("prometheus", {"latency_metrics": True})] for i in range(20)}), test, KOMBI_WORKERS="2")


# ---- the access log -------------------------------------------------------------


def test_a_log_line_tells_all_but_secrets():
    def test(gateway):
        gateway.call("POST", "/logged/x?token=secret-in-query", [
            ("Authorization", "Bearer secret-in-header"), ("Cookie", "session=secret-in-cookie"), ("X-Request-ID", "line-1"),
            ("Referer", "https://x.example/?secret-in-referer")], body=b"secret-in-body")
        line = gateway.line_of("/logged/x")
        assert line["requestId"] == "line-1" and line["method"] == "POST" and line["statusCode"] == 200
        assert line["route"] == "logged" and line["routeService"] == "svc" and line["source"] == "service"
        assert line["upstream"] == f"127.0.0.1:{UPSTREAM.port}" and line["upstreamStatus"] == 200 and line["tries"] == 1
        assert line["bytesIn"] == 14 and line["bytesOut"] > 14 and line["peer"] == "127.0.0.1"
        assert set(line["latencies"]) == {"request", "kong", "proxy"} and "retries" not in line and "tls" not in line
        assert line["latencies"]["request"] == line["durationMs"] >= line["latencies"]["proxy"] >= 0
        gateway.call("GET", "/absent%22?x")
        until(lambda: "absent" in gateway.logged(), 10, "a line")
        assert "secret" not in gateway.logged()
        lines = [json.loads(text) for text in gateway.logged().splitlines() if text.startswith("{")]
        absent = next(entry for entry in lines if "absent" in entry.get("path", ""))
        assert absent["source"] == "kong" and absent["statusCode"] in (400, 404) and "upstream" not in absent
    running(config({"logged": []}), test)


def test_a_log_line_tells_which_addresses_were_tried():
    answers = []

    def flaky(wire, _head):
        answers.append(1)
        if len(answers) == 1:
            return False
        send(wire, 200, b"ok")
        return None

    def test(gateway):
        UPSTREAM.rules["/flaky"] = flaky
        assert gateway.call("GET", "/flaky").status == 200
        line = gateway.line_of("/flaky")
        assert line["tries"] == 2 and line["retries"] == 1, line
        first, second = line["attempts"]
        assert first["error"] == "closed" and "status" not in first and second["status"] == 200 and "error" not in second
    running(config({"flaky": []}), test)


# ---- traces ---------------------------------------------------------------------


def traced(collector, **conf):
    return ("opentelemetry", {"traces_endpoint": collector.url, "batch_flush_delay": 0, **conf})


def upstream_fields(answer):
    assert answer.status == 200, answer.body
    return {name.lower(): value for name, value in answer.json()["headers"]}


def test_a_trace_is_taken_up_passed_on_and_told():
    collector = Collector()

    def test(gateway):
        fields = upstream_fields(gateway.call("GET", "/t?secret-query", [
            ("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "vendor=value,other=1"), ("User-Agent", "tester")]))
        version, trace, span, flags = fields["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01") and span != SPAN and HEX16.fullmatch(span)
        assert fields["tracestate"] == "vendor=value,other=1"
        spans = until(lambda: len(collector.of(TRACE)) >= 3 and collector.of(TRACE), 10, "spans")
        server = next(item for item in spans if item["kind"] == 2)
        client = next(item for item in spans if item["kind"] == 3)
        inner = next(item for item in spans if item["kind"] == 1)
        assert server["spanId"] == span and server["parentSpanId"] == SPAN and server["name"] == "GET /t"
        assert client["parentSpanId"] == span == inner["parentSpanId"]
        facts = attributes(server)
        assert facts["http.request.method"] == "GET" and facts["http.response.status_code"] == "200"
        assert facts["url.path"] == "/t" and facts["http.route"] == "/t" and facts["user_agent.original"] == "tester"
        assert facts["client.address"] == "127.0.0.1" and facts["url.scheme"] == "http"
        assert attributes(client)["network.peer.port"] == str(UPSTREAM.port)
        for item in spans:
            assert int(item["startTimeUnixNano"]) <= int(item["endTimeUnixNano"]) and abs(
                int(item["endTimeUnixNano"]) / 1e9 - time.time()) < 60
        assert "secret" not in json.dumps(collector.got)
        resource = attributes(collector.got[0]["resourceSpans"][0]["resource"])
        assert resource["service.name"] == "edge" and resource["deployment.environment"] == "test"
        assert collector.heads[0]["X-Token"] == "collector-secret" and "collector-secret" not in gateway.logged()
        assert gateway.line_of("/t")["traceId"] == TRACE
    running(config({"t": [traced(collector, headers={"X-Token": "collector-secret"}, resource_attributes={
        "service.name": "edge", "deployment.environment": "test"})]}), test)


def test_what_is_no_trace_begins_a_new_one():
    collector = Collector()
    bad = [f"00-{TRACE}-{SPAN}-01-x", f"00-{TRACE.upper()}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
           f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}", "", f"00-{TRACE}-{SPAN}-0g"]

    def test(gateway):
        for value in bad:
            fields = upstream_fields(gateway.call("GET", "/n", [("traceparent", value), ("tracestate", "a=b")]))
            assert TRACE not in fields["traceparent"] and "tracestate" not in fields, value
        twice = [("traceparent", f"00-{TRACE}-{SPAN}-01")] * 2
        assert TRACE not in upstream_fields(gateway.call("GET", "/n", twice))["traceparent"]
        answer = gateway.call("GET", "/n")
        assert HEX32.fullmatch(answer.head.get("X-Trace")) and answer.head.get("X-Trace") in upstream_fields(answer)["traceparent"]
        assert gateway.call("GET", "/stopped").status == 503
        until(lambda: any(attributes(item).get("url.path") == "/stopped" for item in collector.spans()), 10, "a span of a refusal")
    running(config({"n": [traced(collector, http_response_header_for_traceid="X-Trace")],
                    "stopped": [traced(collector), ("bot-detection", {}), ("request-termination", {})]}), test)


def test_sampling_follows_the_parent_and_the_rate():
    collector = Collector()

    def test(gateway):
        def flags(path, *headers):
            return upstream_fields(gateway.call("GET", path, headers))["traceparent"][-2:]
        assert flags("/none") == "00" and flags("/all") == "01"
        assert flags("/all", ("traceparent", f"00-{TRACE}-{SPAN}-00")) == "00"
        assert flags("/parent", ("traceparent", f"00-{TRACE}-{SPAN}-01")) == "01" and flags("/parent") == "00"
        assert flags("/none", ("traceparent", f"00-{TRACE}-{SPAN}-01")) == "00"
        until(lambda: len(collector.of(TRACE)) >= 3, 10, "the parent's span")
        assert all(attributes(item)["url.path"] in ("/all", "/parent") for item in collector.spans() if item["kind"] == 2)
    running(config({"none": [traced(collector, sampling_rate=0)], "all": [traced(collector, sampling_rate=1.0)],
                    "parent": [traced(collector, sampling_rate=0, sampling_strategy="parent_probability_fallback")]}), test)


def test_b3_is_taken_up_and_passed_on():
    collector = Collector()

    def test(gateway):
        fields = upstream_fields(gateway.call("GET", "/p", [("b3", f"{TRACE}-{SPAN}-1")]))
        trace, span, sampled, parent = fields["b3"].split("-")
        assert (trace, sampled, parent) == (TRACE, "1", SPAN) and span != SPAN and "traceparent" not in fields
        fields = upstream_fields(gateway.call("GET", "/p", [("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN), ("X-B3-Sampled", "0")]))
        assert fields["x-b3-traceid"] == TRACE and fields["x-b3-parentspanid"] == SPAN and fields["x-b3-sampled"] == "0"
        fields = upstream_fields(gateway.call("GET", "/w", [("b3", f"{TRACE}-{SPAN}-1")]))
        assert fields["traceparent"].startswith(f"00-{TRACE}-") and "b3" not in fields
        fields = upstream_fields(gateway.call("GET", "/i", [("traceparent", f"00-{TRACE}-{SPAN}-01")]))
        assert TRACE not in fields["traceparent"]
    running(config({"p": [traced(collector)], "w": [traced(collector, header_type="w3c")],
                    "i": [traced(collector, header_type="ignore")]}), test)


def test_a_collector_that_is_away_costs_spans_not_requests():
    collector = Collector(status=503)

    def test(gateway):
        for _ in range(30):
            assert gateway.call("GET", "/d").status == 200
        until(lambda: total(scrape(gateway), "gateway_export_dropped_total", exporter="opentelemetry") > 0, 10, "drops")
        until(lambda: "collector does not take" in gateway.logged(), 10, "a line")
        until(lambda: len(collector.heads) > 3 or gateway.call("GET", "/d") is None, 10, "more tries")
        assert gateway.logged().count("collector does not take") == 1 and "fetch failed" not in gateway.logged()
        collector.status = 200
        until(lambda: gateway.call("GET", "/d") and total(scrape(gateway), "gateway_exported_total") > 0, 10, "exports")
        until(lambda: "takes what was observed again" in gateway.logged(), 10, "a line")
    running(config({"d": [traced(collector, queue={"max_entries": 5, "max_retry_time": 0, "max_coalescing_delay": 0.01})]}), test)


# ---- headers --------------------------------------------------------------------


def test_hsts_goes_by_https_only():
    def test(gateway):
        for path, status in (("/h", 200), ("/nowhere", 404)):
            answer = gateway.call("GET", path)
            assert answer.status == status and answer.head.get("Strict-Transport-Security") is None
            assert answer.head.get("X-Content-Type-Options") == "nosniff" and answer.head.get("X-Frame-Options")
            spoken = gateway.call("GET", path, [("X-Forwarded-Proto", "https")])
            assert "max-age=31536000" in spoken.head.get("Strict-Transport-Security"), path
        refused = gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert refused.status == 400 and refused.head.get("Strict-Transport-Security") is None
        assert refused.head.get("X-Frame-Options") == "DENY" and refused.head.get("X-Content-Type-Options") == "nosniff"
    running(config({"h": []}), test, KOMBI_TRUSTED_PROXIES="127.0.0.1")
    def untrusted(gateway):
        answer = gateway.call("GET", "/h", [("X-Forwarded-Proto", "https")])
        assert answer.head.get("Strict-Transport-Security") is None
    running(config({"h": []}), untrusted)

    def behind(gateway):
        for path in ("/h", "/nowhere"):
            assert "max-age=31536000" in gateway.call("GET", path).head.get("Strict-Transport-Security"), path
        refused = gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert "max-age=31536000" in refused.head.get("Strict-Transport-Security")
    running(config({"h": []}), behind, KOMBIFY_DEPLOYMENT_MODE="saas-shared")


def test_security_headers_can_be_said_by_route():
    own = "Content-Security-Policy: default-src https:\r\nX-Frame-Options: DENY\r\nReferrer-Policy: unsafe-url\r\n"
    UPSTREAM.rules["/own"] = UPSTREAM.rules["/forced"] = lambda wire, _head: send(wire, 200, b"x", extra=own)

    def test(gateway):
        https = [("X-Forwarded-Proto", "https")]
        head = gateway.call("GET", "/plain", https).head
        assert head.get("Content-Security-Policy") == "frame-ancestors 'self'" and head.get("X-Frame-Options") == "SAMEORIGIN"
        head = gateway.call("GET", "/said", https).head
        assert head.get("Strict-Transport-Security") == "max-age=63072000; includeSubDomains; preload"
        assert head.get("Content-Security-Policy") == "default-src 'self'" and head.get("X-Frame-Options") is None
        assert head.get("Permissions-Policy") == "camera=()" and head.get("Referrer-Policy") == "same-origin"
        head = gateway.call("GET", "/own", https).head
        assert head.all("Content-Security-Policy") == ["default-src https:"] and head.all("X-Frame-Options") == ["DENY"]
        assert head.all("Referrer-Policy") == ["no-referrer"]
        head = gateway.call("GET", "/forced", https).head
        assert head.all("Content-Security-Policy") == ["frame-ancestors 'self'"] and head.all("X-Frame-Options") == ["SAMEORIGIN"]
        refused = gateway.call("GET", "/closed", https)
        assert refused.status == 503 and refused.head.get("Strict-Transport-Security") == "max-age=5"
        assert refused.head.get("Content-Security-Policy").startswith("default-src 'none'")
    running(config({"plain": [], "own": [], "forced": [("security-headers", {"override_upstream": True})],
                    "said": [("security-headers", {
                        "hsts_max_age": 63072000, "hsts_preload": True, "content_security_policy": "default-src 'self'",
                        "frame_options": "", "permissions_policy": "camera=()", "referrer_policy": "same-origin"})],
                    "closed": [("security-headers", {"hsts_max_age": 5, "hsts_include_subdomains": False}),
                               ("request-termination", {})]}), test, KOMBI_TRUSTED_PROXIES="127.0.0.1")


def test_kongs_own_headers_are_sent_when_asked_for():
    def without(gateway):
        answer = gateway.call("GET", "/k")
        assert not [name for name, _ in answer.head.fields if name.lower().startswith("x-kong") or name.lower() in ("via", "server")]
        assert "via" not in upstream_fields(answer)
    running(config({"k": []}), without)

    def with_them(gateway):
        answer = gateway.call("GET", "/k")
        head = answer.head
        assert head.get("X-Kong-Upstream-Latency").isdigit() and head.get("X-Kong-Proxy-Latency").isdigit()
        assert head.get("X-Kong-Request-Id") == head.get("X-Request-ID") and head.get("Via").startswith("1.1 kong/")
        assert head.get("X-Kong-Response-Latency") is None
        sent = upstream_fields(answer)
        assert sent["via"].startswith("1.1 kong/") and sent["x-kong-request-id"] == head.get("X-Request-ID")
        head = gateway.call("GET", "/nowhere").head
        assert head.get("X-Kong-Response-Latency").isdigit() and head.get("Via") is None and head.get("Server").startswith("kong/")
    running(config({"k": []}), with_them, KOMBI_KONG_HEADERS="latency_tokens,server_tokens,X-Kong-Request-Id")


def test_upstream_hears_of_the_path_and_of_what_was_cut_off():
    def test(gateway):
        sent = upstream_fields(gateway.call("GET", "/cut/rest?q=1", [("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-Path", "/evil")]))
        assert sent["x-forwarded-path"] == "/cut/rest" and sent["x-forwarded-prefix"] == "/cut"
        sent = upstream_fields(gateway.call("GET", "/kept", [("X-Forwarded-Prefix", "/evil")]))
        assert sent["x-forwarded-path"] == "/kept" and "x-forwarded-prefix" not in sent
    text = json.loads(config({"cut": [], "kept": []}))
    text["services"][0]["routes"][0]["strip_path"] = True
    running(json.dumps(text), test)


# ---- fields of Kong's plugins -----------------------------------------------------


def test_cors_knows_patterns_private_networks_and_absent_origins():
    def test(gateway):
        def granted(path, origin=None, *more, method="GET"):
            headers = ([("Origin", origin)] if origin else []) + list(more)
            return gateway.call(method, path, headers).head.get("Access-Control-Allow-Origin")
        assert granted("/pattern", "https://a1.example.com") == "https://a1.example.com"
        for origin in ("https://a1.example.com.evil.test", "https://xa1.example.com", "https://a1xexample.com", "null"):
            assert granted("/pattern", origin) is None, origin
        assert granted("/pattern", "http://h.internal:8123") == "http://h.internal:8123"
        assert granted("/pattern", "http://h.internal.evil") is None
        assert granted("/any") == "*" and granted("/absent") is None and granted("/absent", "https://x.test") == "*"
        ask = [("Origin", "https://a1.example.com"), ("Access-Control-Request-Method", "GET"),
               ("Access-Control-Request-Private-Network", "true")]
        assert gateway.call("OPTIONS", "/pattern", ask).head.get("Access-Control-Allow-Private-Network") == "true"
        assert gateway.call("OPTIONS", "/any", ask).head.get("Access-Control-Allow-Private-Network") is None
        UPSTREAM.rules["/passed"] = lambda wire, _head: send(wire, 200, b"", extra="Access-Control-Allow-Origin: https://up.test\r\n")
        head = gateway.call("OPTIONS", "/passed", ask).head
        assert head.all("Access-Control-Allow-Origin") == ["https://up.test"]
        assert gateway.call("GET", "/passed", ask[:1]).head.all("Access-Control-Allow-Origin") == ["*"]
    running(config({"pattern": [("cors", {"origins": ["https://a[0-9]\\.example\\.com", "h\\.internal"], "credentials": True,
                                          "private_network": True})],
                    "any": [("cors", {})], "absent": [("cors", {"allow_origin_absent": False})],
                    "passed": [("cors", {"preflight_continue": True})]}), test)


def test_groups_may_be_denied_and_are_told_to_upstream():
    def test(gateway):
        gold, lead = [("apikey", KEY)], [("apikey", KEY + "2")]
        assert upstream_fields(gateway.call("GET", "/allow", gold))["x-consumer-groups"] == "gold, late"
        assert gateway.call("GET", "/allow", lead).status == 403
        assert gateway.call("GET", "/deny", gold).status == 403 and gateway.call("GET", "/deny", lead).status == 200
        assert "x-consumer-groups" not in upstream_fields(gateway.call("GET", "/hidden", gold))
        assert gateway.call("GET", "/deny").status == 401
    key = ("key-auth", {})
    running(config({"allow": [key, ("acl", {"allow": ["gold"]})], "deny": [key, ("acl", {"deny": ["gold", "x"]})],
                    "hidden": [key, ("acl", {"allow": ["gold"], "hide_groups_header": True})]}, consumers=[
        {"username": "one", "keyauth_credentials": [{"key": KEY}], "acls": [{"group": "gold"}, {"group": "late"}]},
        {"username": "two", "keyauth_credentials": [{"key": KEY + "2"}], "acls": [{"group": "lead"}]}]), test)


def test_correlation_ids_are_made_as_kong_makes_them():
    def test(gateway):
        one, two = (gateway.call("GET", "/counter").head.get("Kong-Request-ID") for _ in range(2))
        assert one.split("#")[0] == two.split("#")[0] and int(two.split("#")[1]) == int(one.split("#")[1]) + 1
        assert re.fullmatch(r"[0-9.]+-\d+-\d+-\d+-\d+-\d+", gateway.call("GET", "/tracker").head.get("X-Track"))
        assert gateway.call("GET", "/counter", [("Kong-Request-ID", "mine#7")]).head.get("Kong-Request-ID") == "mine#7"
        assert "#" in gateway.call("GET", "/nowhere").head.get("Kong-Request-ID")
    running(config({"counter": [], "tracker": [("correlation-id", {"header_name": "X-Track", "generator": "tracker",
                                                                   "echo_downstream": True})]},
                   plugins=[("correlation-id", {"echo_downstream": True})]), test)


def test_a_length_may_be_asked_for():
    def test(gateway):
        chunked = [("Transfer-Encoding", "chunked")]
        assert gateway.call("POST", "/sized", chunked, body=b"1\r\nx\r\n0\r\n\r\n").status == 411
        assert gateway.call("POST", "/sized", body=b"x").status == 200 and gateway.call("GET", "/sized").status == 200
        assert gateway.call("POST", "/sized", body=b"x" * 20).status == 413
        assert gateway.call("POST", "/sized", [("Expect", "100-continue")], body=b"x" * 20).status == 417
    running(config({"sized": [("request-size-limiting", {"allowed_payload_size": 10, "size_unit": "bytes",
                                                         "require_content_length": True})]}), test)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
