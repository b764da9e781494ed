"""Starts the real binaries on free ports, reads what the kernel knows of them,
stops them by their pid."""

import json
import os
import pathlib
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("KOMBI_BIN_DIR", ROOT / "build/release/bin"))


LIVE = set()  # processes that run now


def stop_all():
    """At an interruption: at once, without asking."""
    for process in list(LIVE):
        process.kill()


class Service:
    """One process. Its port comes from its own log, so none is ever guessed."""

    def __init__(self, name, environment, secret_file):
        self.name, self.lines, self.faults = name, [], []
        self.listening = threading.Event()
        self.log = None
        base = dict(PATH=os.environ["PATH"], LANG="C.UTF-8", TZ="UTC", KOMBI_ENVIRONMENT="development",
                    KOMBIFY_DEPLOYMENT_MODE="saas-shared", KOMBI_LISTEN="127.0.0.1", PORT="0", KOMBI_LOG_LEVEL="info",
                    KOMBI_SERVICE_SECRET_FILE=str(secret_file))
        self.process = subprocess.Popen([BIN / name], env={**base, **environment}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        LIVE.add(self.process)
        self.pid = self.process.pid
        self.said = []
        threading.Thread(target=self._read_log, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()
        if not self.listening.wait(20):
            self.stop()
            raise RuntimeError(f"{name} does not listen: {''.join(self.said)[-800:]} {self.lines[-3:]}")
        self.port = self.start["port"]

    def _read_log(self):
        for raw in self.process.stdout:
            try:
                line = json.loads(raw)
            except ValueError:
                self.faults.append(raw[:200])
                continue
            self.lines.append(line)
            if line.get("message") == "listening":
                self.start = line
                self.listening.set()

    def _read_errors(self):
        for raw in self.process.stderr:
            self.said.append(raw.decode(errors="replace"))

    @property
    def alive(self):
        return self.process.poll() is None

    def stop(self):
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        LIVE.discard(self.process)

    def log_line(self, wanted, seconds=3):
        """The first line for which `wanted(line)` holds, or None."""
        deadline = time.monotonic() + seconds
        while True:
            for line in list(self.lines):
                if wanted(line):
                    return line
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)

    # ---- /proc -------------------------------------------------------------

    def memory(self):
        """KiB: resident now, resident at most, of it files."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {name: int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM", "RssFile")}

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.memory()

    def growth_kib(self, before):
        """Peak since forget_peak(), without pages of code touched first now."""
        after = self.memory()
        return after["VmHWM"] - before["VmRSS"] - max(0, after["RssFile"] - before["RssFile"])

    def cpu_ms(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e6

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def sockets(self):
        """(local port, remote address, remote port) of its TCP connections."""
        inodes = set()
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                link = os.readlink(f"/proc/{self.pid}/fd/{name}")
            except OSError:
                continue
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
        found = set()
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            part = line.split()
            if part[9] in inodes:
                address, port = part[2].split(":")
                octets = [str(int(address[i:i + 2], 16)) for i in (6, 4, 2, 0)]
                found.add((int(part[1].split(":")[1], 16), ".".join(octets), int(port, 16)))
        return found
