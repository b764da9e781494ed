"""The end-to-end cases, in this order; each name is the sentence it proves."""

import secrets
import threading

from client import request
from main_job import expect, expect_error
from platform_under_test import SERVICES

# A request that each service alone can answer.
PROBE = {"admin": "/v1/tenants", "stack": "/v1/stacks", "sim": "/v1/simulations", "stackkits": "/v1/stackkits"}


def the_main_job_goes_through(p):
    p.main_job().run()


def the_main_job_goes_through_again(p):
    p.main_job().run()


def up_again_keeps_every_process(p):
    before = p.pids()
    p.up()
    expect(p.pids() == before, f"{before} became {p.pids()}")


def a_second_member_of_the_organisation_sees_the_stack_and_is_no_admin(p):
    job = p.main_job()
    for step in job.STEPS[:6]:
        step(job)
    carol = p.main_job("carol")
    carol.signs_in()
    session = carol.ask("GET", "/kombistack/sso/start", headers={"Accept": "application/json"}).json()
    expect(session["role"] == "member", f"carol is {session['role']}")
    answer = carol.ask("GET", f"/v1/stacks/{job.stack['id']}")
    expect(answer.status in (200, 403, 404), f"{answer.status}")
    job.ask("DELETE", f"/v1/stacks/{job.stack['id']}")


def another_organisation_does_not_see_the_stack(p):
    job = p.main_job()
    for step in job.STEPS[:6]:
        step(job)
    bob = p.main_job("bob")
    bob.signs_in()
    bob.creates_a_tenant()
    bob.launches_the_homelab()
    target = f"/v1/stacks/{job.stack['id']}"
    expect_error(bob.ask("GET", target), 404, "NOT_FOUND")
    expect_error(bob.ask("DELETE", target), 404, "NOT_FOUND")
    foreign = bob.ask("GET", target, headers={"X-Tenant-ID": "acme"})
    expect(foreign.status in (403, 404), f"a foreign X-Tenant-ID gave {foreign.status}")
    expect(job.ask("GET", target).status == 200, "the stack is gone")
    job.ask("DELETE", target)


def requests_without_a_token_are_refused_in_the_envelope(p):
    for target in [*PROBE.values(), "/v1/admin/users", "/v1/jobs", "/kombistack/sso/start"]:
        expect_error(p.ask(None, "GET", target), 401, "AUTH_REQUIRED")


def broken_tokens_are_refused(p):
    token = p.token(user="alice")
    for bad in (token[:-4] + "AAAA", token.rsplit(".", 1)[0] + ".", "x.y.z"):
        expect_error(p.ask(bad, "GET", "/v1/stacks"), 401, "AUTH_INVALID")


def a_plain_user_does_not_get_into_administration(p):
    expect_error(p.ask(p.token(user="bob"), "GET", "/v1/admin/users"), 403, "AUTH_INSUFFICIENT")
    # Holding the role in another organisation is not holding it.
    expect_error(p.ask(p.token(user="dora"), "GET", "/v1/admin/users"), 403, "AUTH_INSUFFICIENT")


def identity_headers_of_the_client_count_for_nothing(p):
    forged = {"X-User-ID": "310000000000000001", "X-Org-ID": "320000000000000001", "X-User-Roles": "kombisphere_admin",
              "X-Subscription-Plan": "enterprise", "X_User_ID": "310000000000000001"}
    expect_error(p.ask(None, "GET", "/v1/stacks", headers=forged), 401, "AUTH_REQUIRED")
    expect_error(p.ask(p.token(user="bob"), "GET", "/v1/admin/users", headers=forged), 403, "AUTH_INSUFFICIENT")


def internal_routes_are_not_reachable_from_outside(p):
    token = p.token(user="root")
    for target in ("/api/internal/sso/exchange", "/api/internal/tenants", "/v1/stacks/../../api/internal/tenants",
                   "/api/%69nternal/tenants", "//api//internal/tenants"):
        for method in ("GET", "POST"):
            answer = p.ask(token, method, target)
            expect(answer.status in (400, 404), f"{method} {target} answered {answer.status}")


def unknown_paths_are_a_404_in_the_envelope(p):
    for token in (None, p.token(user="alice")):
        expect_error(p.ask(token, "GET", "/v1/nothing-here"), 404, "NOT_FOUND")
        expect_error(p.ask(token, "GET", "/v1/stacksandmore"), 404, "NOT_FOUND")


def the_absent_portal_is_a_503_in_the_envelope(p):
    expect_error(p.ask(p.token(user="alice"), "GET", "/v1/portal/me"), 503, "SERVICE_UNAVAILABLE")


def health_needs_no_token(p):
    answer = p.ask(None, "GET", "/health")
    expect(answer.status == 200 and answer.json()["status"] in ("healthy", "degraded"), f"{answer.status} {answer.body!r}")


def tokens_outlive_a_restart_of_the_identity_provider(p):
    token = p.token(user="alice")
    p.kill("idp")
    expect(p.ask(token, "GET", "/v1/stacks").status == 200, "refused while the provider is away")
    p.up()
    expect(p.ask(token, "GET", "/v1/stacks").status == 200, "refused after the provider's restart")


def _survived(p, victim):
    """kill -9 in the middle of the job: the others answer on, and after the
    restart the job is taken up where it was."""
    token = p.token(user="alice")

    def blow(step):
        if step != "creates_a_stack":
            return
        p.kill(victim)
        if victim != "gateway":
            expect_error(p.ask(token, "GET", PROBE[victim]), 503, "SERVICE_UNAVAILABLE")
            for name in set(PROBE) - {victim, "admin"}:
                expect(p.ask(token, "GET", PROBE[name]).status == 200, f"{name} does not answer without {victim}")
        p.up()

    p.main_job().run(blow)


def _survival_cases():
    for victim in SERVICES:
        def case(p, victim=victim):
            _survived(p, victim)
        case.__name__ = f"killing_{victim}_in_the_middle_is_survived"
        yield case


def _while_writing(p, victim, write, writers=3, wanted=60):
    """Kills `victim` while threads write; what they were promised."""
    promised, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            try:
                promised.append(write())
            except (AssertionError, OSError):
                stop.wait(0.01)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(writers)]
    for thread in threads:
        thread.start()
    try:
        p.wait(lambda: len(promised) >= wanted, f"only {len(promised)} writes were acknowledged", 60)
        p.kill(victim)
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)
    p.up()
    return promised


def killing_stack_under_load_loses_no_acknowledged_job(p):
    job = p.main_job()
    for step in job.STEPS[:6]:
        step(job)
    target = f"/v1/stacks/{job.stack['id']}/validate"

    def write():
        answer = p.ask(job.token, "POST", target)
        assert answer.status == 202
        return answer.json()["data"]["jobId"]

    for promised in _while_writing(p, "stack", write):
        job.poll(f"/v1/jobs/{promised}", lambda j: j["status"] in ("completed", "failed"), f"job {promised}", 60)
    job.ask("DELETE", f"/v1/stacks/{job.stack['id']}")


def killing_admin_under_load_loses_no_acknowledged_tenant(p):
    made, lock = {}, threading.Lock()

    def write():
        slug = f"t-{secrets.token_hex(6)}"
        p.new_user(slug, slug, plan="enterprise", roles=["admin"])
        token = p.token(user=slug)
        with lock:
            made[slug] = token
        answer = p.ask(token, "POST", "/v1/tenants", {"name": slug, "slug": slug})
        assert answer.status == 201
        return slug

    for slug in _while_writing(p, "admin", write, wanted=12):
        answer = p.ask(made[slug], "GET", "/v1/tenants")
        expect(answer.status == 200 and [t["slug"] for t in answer.json()["data"]] == [slug], f"{slug} is lost: {answer.body!r}")


def logs_hold_no_secret(p):
    texts = {path.name: path.read_text(errors="replace") for path in (p.folder / "local/log").glob("*.log")}
    for secret in (p.folder / "local/secrets").iterdir():
        value = secret.read_text().strip()
        for name, text in texts.items():
            expect(value not in text, f"{name} holds {secret.name}")


def down_leaves_no_process(p):
    pids = p.pids()
    p.local("down")
    left = p.processes()
    expect(not left, f"left behind: {left} of {pids}")
    p.local("down")


CASES = [
    the_main_job_goes_through,
    the_main_job_goes_through_again,
    up_again_keeps_every_process,
    a_second_member_of_the_organisation_sees_the_stack_and_is_no_admin,
    another_organisation_does_not_see_the_stack,
    requests_without_a_token_are_refused_in_the_envelope,
    broken_tokens_are_refused,
    a_plain_user_does_not_get_into_administration,
    identity_headers_of_the_client_count_for_nothing,
    internal_routes_are_not_reachable_from_outside,
    unknown_paths_are_a_404_in_the_envelope,
    the_absent_portal_is_a_503_in_the_envelope,
    health_needs_no_token,
    tokens_outlive_a_restart_of_the_identity_provider,
    *_survival_cases(),
    killing_stack_under_load_loses_no_acknowledged_job,
    killing_admin_under_load_loses_no_acknowledged_tenant,
    logs_hold_no_secret,
    down_leaves_no_process,
]
