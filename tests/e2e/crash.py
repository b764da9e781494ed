#!/usr/bin/env python3
"""Services killed under load and told to stop under load: nothing acknowledged is lost, nothing stays half done.

Usage: tests/support/with-postgres tests/e2e/crash.py [--rounds N] [stack|sim|admin|drain ...]
Without a PostgreSQL beside it the admin part is skipped."""
import argparse
import os
import pathlib
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from crash_admin import AdminCrash  # noqa: E402
from crash_drain import DRAINED, drain  # noqa: E402
from crash_sim import SimCrash  # noqa: E402
from crash_stack import StackCrash  # noqa: E402
from tally import Tally  # noqa: E402

READY_MS = 300
PARTS = {"stack": StackCrash, "sim": SimCrash, "admin": AdminCrash}


def crashes(victim, rounds, tally):
    """Killed again and again; everything promised in any round is looked for after the last one too."""
    times = []
    try:
        victim.start()
        victim.prepare()
        for number in range(1, rounds + 1):
            tally.check(f"{victim.name} round {number}: the files are whole", not (wrong := victim.crash()), wrong)
            victim.start()
            times.append(victim.process.ready_ms)
            lost = victim.lost()
            tally.check(f"{victim.name} round {number}: nothing acknowledged is lost", not lost, lost[:5])
        told = victim.settled()
        lost = victim.lost()
        tally.check(f"{victim.name}: nothing is lost in the end", not lost, lost[:5])
    except (AssertionError, OSError) as problem:
        tally.check(f"{victim.name}: goes through all rounds", False, str(problem))
        return
    finally:
        victim.stop()
    middle = statistics.median(times)
    # A busy machine may be slow once; half of all starts must be quick.
    tally.check(f"{victim.name}: ready again within {READY_MS} ms", middle <= READY_MS, times)
    print(f"{victim.name}: {rounds} crashes, {victim.ledger.acknowledged} acknowledged, {victim.ledger.unanswered} unanswered; {told}; "
          f"ready again after {middle:.0f} ms (most {max(times):.0f} ms)", flush=True)


def crash(name, folder, rounds, tally):
    victim = PARTS[name](folder)
    os.environ["KOMBI_SERVICE_SECRET"] = victim.process.env["KOMBI_SERVICE_SECRET"]
    crashes(victim, rounds, tally)


def drained(name, folder, _rounds, tally):
    drain(DRAINED[name], folder, tally)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "drain", []], help="all")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    os.environ.pop("KOMBI_SERVICE_SECRET_FILE", None)
    tally = Tally()
    chosen = arguments.parts or [*PARTS, "drain"]
    runs = [(name, crash) for name in PARTS if name in chosen] + [(name, drained) for name in DRAINED if "drain" in chosen]
    for name, run in runs:
        if name == "admin" and "KOMBI_TEST_POSTGRES" not in os.environ:
            tally.skip("admin", "there is no PostgreSQL; run it inside tests/support/with-postgres")
            continue
        with tempfile.TemporaryDirectory(prefix="kombi-crash-") as folder:
            run(name, folder, arguments.rounds, tally)
    tally.end()


if __name__ == "__main__":
    main()
