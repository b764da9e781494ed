"""A service as a process of the test's own: started on a free port, killed, drained, started again."""
import json
import os
import pathlib
import signal
import subprocess
import time

from wire import Wire

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(name):
    return str(pathlib.Path(os.environ.get("KOMBI_BIN_DIR", ROOT / "build/release/bin")) / name)


class ServiceProcess:
    def __init__(self, name, folder, secret, **settings):
        self.name, self.log_file = name, pathlib.Path(folder) / f"{name}.log"
        self.env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": "UTC", "PORT": "0", "KOMBI_ENVIRONMENT": "development",
                    "KOMBIFY_DEPLOYMENT_MODE": "saas-shared", "KOMBI_SERVICE_SECRET": secret, **settings}
        self.process = self.url = None
        self.ready_ms = 0.0

    def start(self, seconds=30):
        """Returns when /ready says so; how long that took is in ready_ms."""
        begin = time.monotonic()
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen([program(self.name)], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.url = None
        while not self.is_ready():
            assert self.process.poll() is None, f"{self.name} ended:\n{self.log()}"
            assert time.monotonic() - begin < seconds, f"{self.name} is not ready:\n{self.log()}"
            time.sleep(0.001)
        self.ready_ms = (time.monotonic() - begin) * 1000
        return self

    def is_ready(self):
        if self.url is None:
            for line in self.log_file.read_text(errors="replace").splitlines():
                if '"message":"listening"' in line and line.endswith("}"):
                    self.url = f"http://127.0.0.1:{json.loads(line)['port']}"
        try:
            return self.url is not None and Wire(self.url).call("GET", "/ready").status == 200
        except OSError:
            return False

    def log(self):
        return self.log_file.read_text(errors="replace")[-4000:]

    def kill(self):
        """kill -9, and away it is."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, seconds=30):
        """SIGTERM; (exit code, seconds it took)."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds), time.monotonic() - begin

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
