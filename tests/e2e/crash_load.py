"""Writers that remember what they were promised, and a ledger that says afterwards what must be there."""
import pathlib
import random
import shutil
import sqlite3
import tempfile
import threading
import time

GONE = None


class Ledger:
    """For each id the states that it may be in: one once a write was acknowledged, more while one is under way."""

    def __init__(self):
        self.lock, self.states, self.tried, self.problems = threading.Lock(), {}, set(), []
        self.acknowledged = self.unanswered = 0

    def may_become(self, key, state):
        with self.lock:
            self.states[key] = self.states.get(key, set()) | {state}

    def is_now(self, key, state):
        with self.lock:
            self.states[key] = {state}
            self.acknowledged += 1

    def promised(self):
        with self.lock:
            self.acknowledged += 1

    def trying(self, name):
        """A creation whose id nobody knows until it is acknowledged."""
        with self.lock:
            self.tried.add(name)

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def differences(self, found, name_of):
        """found: {id: state}. What was promised and is not so, and what nobody ever asked for."""
        wrong = [f"{key} is {found.get(key, GONE)!r}, promised {sorted(map(str, allowed))}"
                 for key, allowed in self.states.items() if found.get(key, GONE) not in allowed]
        wrong += [f"{key} came from nowhere" for key in found if key not in self.states and name_of(key) not in self.tried]
        return wrong + self.problems


class Load:
    """Threads that each run writer(index, ledger, stop) until they are told to stop."""

    def __init__(self, writers, ledger, write):
        self.stop_event, self.ledger = threading.Event(), ledger
        self.threads = [threading.Thread(target=self.work, args=(write, index), daemon=True) for index in range(writers)]
        for thread in self.threads:
            thread.start()

    def work(self, write, index):
        dice = random.Random()
        while not self.stop_event.is_set():
            try:
                write(index, dice)
            except (OSError, ValueError, IndexError):
                # No answer, or half of one: nothing was promised.
                with self.ledger.lock:
                    self.ledger.unanswered += 1
                self.stop_event.wait(0.002)

    def stop(self):
        self.stop_event.set()
        for thread in self.threads:
            thread.join(30)


def under_load(process, ledger, write, writers=6):
    """Kills the service at a moment of the dice's choosing while they write."""
    load = Load(writers, ledger, write)
    time.sleep(random.uniform(0.15, 0.6))  # the moment of the crash, not a wait for something
    process.kill()
    load.stop()


def judge(answer, ledger, good, what):
    """True when it was acknowledged; a refusal that says that the service is leaving or full promises nothing."""
    if answer.status in good:
        return True
    if answer.status not in (0, 503):
        ledger.problem(f"{what} was answered {answer!r}")
    return False


def damaged(files):
    """PRAGMA integrity_check on copies, so that the service itself recovers its files."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for index, path in enumerate(files):
            copy = pathlib.Path(folder) / f"{index}.db"
            for tail in ("", "-wal"):
                if (source := pathlib.Path(str(path) + tail)).exists():
                    shutil.copy(source, str(copy) + tail)
            db = sqlite3.connect(copy)
            said = [row[0] for row in db.execute("PRAGMA integrity_check")]
            broken = db.execute("PRAGMA foreign_key_check").fetchall()
            db.close()
            if said != ["ok"] or broken:
                wrong.append(f"{path}: {said} {broken}")
    return wrong
