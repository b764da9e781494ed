"""What a case asks, what came, and the report at the end. An expectation that
no check took is told by name: nothing is skipped in silence."""

import json
import threading
import time

from .wire import envelope_faults

PLAIN = {"verdict"}  # says what the rest spells out


class Check:
    """Expectations of one case. take() hands one out and notes that it is seen
    to; what is left at the end was not checked."""

    def __init__(self, case, suffix=""):
        self.case, self.id, self.title = case, case["id"] + suffix, case["title"]
        self.expect = case["expect"]
        self.named = {**{k: v for k, v in self.expect.items() if k != "assert"}, **self.expect.get("assert", {})}
        self.taken = set(PLAIN)
        self.faults, self.got = [], "nothing"

    def take(self, name):
        self.taken.add(name)
        return self.named.get(name)

    def fault(self, text):
        self.faults.append(text)

    def hold(self, good, text):
        if not good:
            self.fault(text)

    def at_most(self, name, value, unit):
        limit = self.take(name)
        if limit is not None:
            self.hold(value <= limit, f"{name}: {value:.0f} {unit}, allowed {limit}")

    def errors_are_whole(self, answers, method="GET"):
        for answer in answers:
            if answer.status >= 400 and method != "HEAD":
                for fault in envelope_faults(answer):
                    self.fault(f"envelope of {answer.status}: {fault}")

    def status_and_code(self, answer):
        self.got = str(answer)
        self.hold(answer.status in self.take("status"), "status")
        codes = self.take("code") or []
        if codes and answer.status >= 400:
            self.hold(answer.code in codes, f"code {answer.code}")

    def unchecked(self):
        return sorted(set(self.named) - self.taken)

    @property
    def wanted(self):
        text = "/".join(map(str, self.expect["status"])) or "no answer"
        return text + (" " + "|".join(self.expect["code"]) if self.expect.get("code") else "")


class Report:
    """Collects verdicts from many threads and prints what failed at once."""

    def __init__(self, known, verbose):
        self.known, self.verbose = known, verbose
        self.lock = threading.Lock()
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.unchecked, self.seen = {}, set()
        self.began = time.monotonic()

    def say(self, text):
        with self.lock:
            print(f"[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def add(self, check):
        left = check.unchecked()
        with self.lock:
            self.seen.add(check.id)
            for name in left:
                self.unchecked.setdefault(name, []).append(check.id)
            reason = self.known.get(check.id)
            if reason and check.faults:
                self.skipped += 1
                print(f"skip {check.id} {check.title[:90]}: {reason} (now: {check.got}; {'; '.join(check.faults)[:160]})")
            elif reason or check.faults:
                self.failed += 1
                faults = check.faults or ["it passes: remove it from known.json"]
                print(f"FAIL {check.id} {check.title[:90]}\n     expected {check.wanted}\n     got      {check.got}\n"
                      + "\n".join(f"     {fault[:400]}" for fault in faults), flush=True)
            else:
                self.passed += 1
                if self.verbose:
                    print(f"pass {check.id} {check.title[:90]}: {check.got}")

    def run(self, check, function, *args):
        """Runs one case; what goes wrong in the harness fails the case."""
        try:
            function(check, *args)
        except Exception as error:  # noqa: BLE001
            check.fault(f"{type(error).__name__}: {error}")
        self.add(check)

    def close(self, planned, whole):
        for check in planned:
            if check.id not in self.seen:
                self.failed += 1
                print(f"FAIL {check.id} {check.title[:90]}: it was not run")
        if whole:
            for name in sorted(set(self.known) - self.seen):
                self.failed += 1
                print(f"FAIL {name}: known.json lists it, but there is no such case")
        for name, ids in sorted(self.unchecked.items()):
            print(f"assertions not checked: {name} ({len(ids)}: {', '.join(ids[:6])}{', …' if len(ids) > 6 else ''})")
        if not self.unchecked:
            print("assertions not checked: none")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


def load_known(path):
    known = json.loads(path.read_text(encoding="utf-8"))
    assert all(isinstance(v, str) and v for v in known.values()), "known.json: every case needs a reason"
    return known
