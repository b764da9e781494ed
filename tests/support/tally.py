"""Counting checks: each failure is told once, the last line is "N passed, N failed, N skipped"."""
import sys

TOLD = 60


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, what, good, seen=""):
        """True if it held. `seen` is shown when it did not."""
        if good:
            self.passed += 1
            return True
        self.failed += 1
        if self.failed <= TOLD:
            print(f"not ok - {what}: {seen!r}"[:900])
        return False

    def skip(self, what, why):
        self.skipped += 1
        print(f"skipped - {what}: {why}")

    def end(self):
        if self.failed > TOLD:
            print(f"... and {self.failed - TOLD} more")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        sys.exit(self.failed != 0)
