"""The real PocketBase, built from its Go module, and a tenant of ours."""
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
TOOLS = ROOT / ".local/tools"
EMAIL, PASSWORD = "root@example.com", "correct horse 1"


def build():
    """The server's path, or None where Go or its module proxy is missing."""
    program = TOOLS / "pocketbase"
    if os.environ.get("KOMBI_POCKETBASE_BIN"):
        return os.environ["KOMBI_POCKETBASE_BIN"]
    if program.exists():
        return program
    if not shutil.which("go"):
        return None
    TOOLS.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(["go", "build", "-o", str(program) + ".new", "."], cwd=HERE / "server", check=False,
                         env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"})
    if run.returncode != 0:
        return None
    os.replace(str(program) + ".new", program)
    return program


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class PocketBase:
    def __init__(self, program, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        data = f"--dir={folder}/pb_data"
        subprocess.run([program, "superuser", "upsert", EMAIL, PASSWORD, data], check=True, stdout=subprocess.DEVNULL)
        with open(f"{folder}/pocketbase.log", "wb") as log:
            self.process = subprocess.Popen([program, "serve", data, "--http", self.url[7:]], stdout=log, stderr=log)
        self.wait()

    def wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(self.url + "/api/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("PocketBase does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
