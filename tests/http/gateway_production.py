#!/usr/bin/env python3
"""The platform's own production file, unchanged, does what it means: with
tokens, spoofed headers, preflights, limits and what must not be reached. Runs
as tests/support/captive gateway tests/http/gateway_production.py"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import FIELDS, Gateway, Issuer, Upstream, gateway_binary, run_tests  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-production-test-"))
FILE = pathlib.Path(__file__).resolve().parent / "gateway_production.yml"
NAMES = ("ADMIN", "STACK", "SIM", "SPHERE", "STACKKITS")
UPSTREAMS, ISSUER = {name: Upstream() for name in NAMES}, Issuer(FOLDER)
ENV = {"ZITADEL_ISSUER": ISSUER.url, "ZITADEL_JWKS_URL": ISSUER.url + "/keys", "KOMBI_AUDIENCE": "kombify",
       "REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1", "REDIS_PASSWORD": "a password: with # YAML"}
for NAME, UPSTREAM in UPSTREAMS.items():
    ENV[f"{NAME}_SERVICE_HOST"], ENV[f"{NAME}_SERVICE_PORT"] = "127.0.0.1", str(UPSTREAM.port)
PAGE = "https://app.kombify.io"

GATEWAY = Gateway(FILE.read_text(), **ENV)


def call(method, path, headers=(), **more):
    return GATEWAY.call(method, path, headers, **more)


def seen(answer):
    """The headers that an upstream got, by lower-case name."""
    assert answer.status == 200, (answer.status, answer.body)
    return {name.lower(): value for name, value in answer.json()["headers"]}


def start(answer):
    return answer.json()["start"]


def check(*arguments, env=None):
    return subprocess.run([gateway_binary(), "check", *arguments], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], **(env or {})})


def test_check_accepts_the_file_and_lists_its_variables():
    done = check("--allow-unset", str(FILE))
    assert done.returncode == 0, done.stderr
    for name in ("ADMIN_SERVICE_HOST", "REDIS_PASSWORD", "SPHERE_SERVICE_PORT", "ZITADEL_ISSUER"):
        assert name in done.stdout, done.stdout
    for what in ('"/api/internal/sso" is never reachable', 'no service "kong-admin"', "maximum_expiration",
                 'upstream "kombistack-upstream" is not the host', "always set by the gateway itself"):
        assert what in done.stderr, what


def test_check_without_its_environment_names_what_is_missing():
    done = check(str(FILE))
    assert done.returncode == 1
    assert f"{FILE}:8: environment variable ADMIN_SERVICE_HOST is not set" in done.stderr, done.stderr
    assert "REDIS_PASSWORD is not set" in done.stderr


def test_health_is_the_gateways_own():
    answer = call("GET", "/health")
    assert answer.status == 200 and answer.json()["status"] in ("healthy", "degraded")
    assert call("GET", "/healthz").status == 404


def test_routes_lead_to_their_services():
    for path, name in (("/v1/admin/x", "ADMIN"), ("/v1/simulations", "SIM"), ("/v1/portal", "SPHERE"),
                       ("/api/sso/x", "SPHERE"), ("/v1/stackkits/a", "STACKKITS")):
        before = UPSTREAMS[name].count(path)
        assert start(call("GET", path)) == f"GET {path} HTTP/1.1"
        assert UPSTREAMS[name].count(path) == before + 1
    # strip_path is Kong's default
    assert start(call("GET", "/v1/catalog/public/x")) == "GET /x HTTP/1.1"


def test_paths_are_whole_segments_and_internal_ones_are_closed():
    assert call("GET", "/v1/administrator").status == 404
    assert call("GET", "/api/internal/sso").status == 404
    assert call("GET", "/api/internal/sso/exchange", token=ISSUER.token()).status == 404
    assert call("GET", "/api/%69nternal/sso").status == 404


def test_stacks_need_a_token_of_the_issuer():
    assert call("GET", "/v1/stacks").status == 401
    assert call("GET", "/v1/stacks", token="no.token.there").status == 401
    assert call("GET", "/v1/stacks", token=ISSUER.token(iss="https://other.example")).status == 401
    assert call("GET", "/v1/stacks", token=ISSUER.token(exp=int(time.time()) - 100)).status == 401
    assert start(call("GET", "/v1/stacks", token=ISSUER.token())) == "GET /v1/stacks HTTP/1.1"


def test_tokens_that_live_longer_than_an_hour_are_refused():
    assert call("GET", "/v1/jobs", token=ISSUER.token(exp=int(time.time()) + 7200)).status == 401


def test_identity_headers_are_set_whatever_the_client_sends():
    spoofed = [(name, "spoofed") for name in FIELDS] + [("X-Forwarded-By", "me"), ("X-Service-Name", "me")]
    headers = seen(call("GET", "/v1/stacks", spoofed, token=ISSUER.token(org="org-9", plan="pro")))
    assert headers["x-user-id"] == "user-1" and headers["x-user-email"] == "one@example.org"
    assert headers["x-org-id"] == "org-9" and headers["x-subscription-plan"] == "pro"
    assert headers["x-forwarded-by"] == "Kong" and headers["x-service-name"] == "KombiStack"
    assert "spoofed" not in json.dumps(headers)
    # No token, no identity: on routes without jwt too.
    headers = seen(call("GET", "/v1/admin/x", spoofed))
    assert "spoofed" not in json.dumps(headers) and "x-user-id" not in headers


def test_plans_have_their_limits():
    for plan, limit in (("free", "100"), ("pro", "500"), ("enterprise", "1000")):
        answer = call("GET", "/v1/stacks", token=ISSUER.token(plan=plan, sub=f"user-{plan}"))
        assert answer.head.get("X-RateLimit-Limit") == limit, (plan, answer.head.fields)
        assert abs(int(answer.head.get("X-RateLimit-Reset")) - time.time()) <= 61


def test_pages_of_the_platform_are_answered_their_preflights():
    ask = [("Origin", PAGE), ("Access-Control-Request-Method", "POST"),
           ("Access-Control-Request-Headers", "authorization")]
    answer = call("OPTIONS", "/v1/stacks", ask)
    assert answer.status in (200, 204), answer.status
    assert answer.head.get("Access-Control-Allow-Origin") == PAGE
    assert answer.head.get("Access-Control-Allow-Credentials") == "true"
    assert "X-User-ID" not in answer.head.get("Access-Control-Allow-Headers")
    other = call("OPTIONS", "/v1/stacks", [("Origin", "https://evil.example")] + ask[1:])
    assert other.head.get("Access-Control-Allow-Origin") is None
    # A refusal can be read by the page, too.
    assert call("GET", "/v1/stacks", [("Origin", PAGE)]).head.get("Access-Control-Allow-Origin") == PAGE


def test_request_ids_are_echoed():
    answer = call("GET", "/v1/portal", [("X-Request-ID", "mine-1")])
    assert answer.head.get("X-Request-ID") == "mine-1"
    assert seen(answer)["x-request-id"] == "mine-1"
    assert call("GET", "/nowhere").head.get("X-Request-ID")


def test_metrics_have_kongs_names():
    call("GET", "/v1/stackkits")
    text = call("GET", "/metrics", admin=True).body.decode()
    assert "kong_http_requests_total{" in text and 'service="stackkits"' in text


def test_no_secret_is_logged():
    assert ENV["REDIS_PASSWORD"] not in GATEWAY.logged()


STATUS = run_tests(dict(globals()))
GATEWAY.stop()
for UPSTREAM in UPSTREAMS.values():
    UPSTREAM.stop()
shutil.rmtree(FOLDER, ignore_errors=True)
sys.exit(STATUS)
