"""A copy of the whole platform of its own: temporary data, free ports,
started and stopped by deploy/local."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from client import request
from main_job import ROOT, MainJob, Screen

SERVICES = ("gateway", "stack", "sim", "stackkits", "admin")
PORTS = ("GATEWAY", "GATEWAY_ADMIN", "ADMIN", "STACK", "SIM", "STACKKITS", "IDP", "POSTGRES", "REDIS")


def free_ports(count):
    """Ports that are free now; all held at once, so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()


class Platform:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kombi-e2e-"))
        self.folder.chmod(0o711)  # the postgres user passes through
        self.ports = dict(zip(PORTS, free_ports(len(PORTS))))
        self.env = {**os.environ, "KOMBI_LOCAL_DIR": str(self.folder / "local"), "NO_COLOR": "1",
                    **{f"KOMBI_{name}_PORT": str(port) for name, port in self.ports.items()}}
        self.url = f"http://127.0.0.1:{self.ports['GATEWAY']}"
        self.issuer = f"http://127.0.0.1:{self.ports['IDP']}"

    def local(self, *words, timeout=300):
        """deploy/local WORDS; its output, or an error that shows it."""
        done = subprocess.run([ROOT / "deploy/local", *words], env=self.env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
        assert done.returncode == 0, f"deploy/local {' '.join(words)} answered {done.returncode}:\n{done.stdout}"
        return done.stdout

    def up(self):
        return self.local("up", "--no-build")

    def pid(self, name):
        return int((self.folder / f"local/run/{name}.pid").read_text().split()[0])

    def pids(self):
        return {path.stem: self.pid(path.stem) for path in (self.folder / "local/run").glob("*.pid")}

    def kill(self, name):
        """kill -9, and away it is."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        self.wait(lambda: not is_running(pid), f"{name} outlives SIGKILL")

    @staticmethod
    def wait(done, what, seconds=20):
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"{what} (after {seconds} s)"
            time.sleep(0.05)

    def token(self, **wish):
        """A bearer token: user=, org=, plan=."""
        answer = request("POST", f"{self.issuer}/dev/token", wish)
        assert answer.status == 200, f"no token for {wish}: {answer.body!r}"
        return answer.json()["access_token"]

    def new_user(self, name, org, **more):
        answer = request("POST", f"{self.issuer}/dev/users", {"name": name, "org": org, **more})
        assert answer.status == 201, f"no user {name}: {answer.body!r}"

    def ask(self, token, method, target, body=None, **more):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return request(method, self.url + target, body, {**headers, **more.get("headers", {})}, more.get("timeout", 30))

    def main_job(self, who="alice"):
        cue = str(ROOT / ".local/tools/cue")
        return MainJob(self.url, self.issuer, "kombify-dev", cue, who, Screen(quiet=True))

    def logs(self, lines=15):
        text = ""
        for path in sorted((self.folder / "local/log").glob("*.log")):
            text += f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + "\n"
        return text

    def processes(self):
        """Everything on this machine whose command line, environment or
        working folder names our folder: what `down` must not leave."""
        mark, found = str(self.folder).encode(), []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                traces = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes() + os.fsencode(os.readlink(entry / "cwd"))
                if mark in traces and is_running(int(entry.name)):
                    found.append((int(entry.name), (entry / "comm").read_text().strip()))
            except OSError:
                continue
        return found

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def is_running(pid):
    """A zombie has ended: it only waits for its parent."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False
