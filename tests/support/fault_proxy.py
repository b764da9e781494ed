"""A TCP proxy that can misbehave: what lies between a gateway and its Redis."""
import os
import re
import socket
import threading
import time

# What a mode does with what the server says. "pass" hands it on.
MODES = ("pass", "down", "silent", "slow", "garbage", "errors")
ERRORS = (b"-LOADING Redis is loading the dataset in memory\r\n", b"-OOM command not allowed\r\n",
          b"-READONLY You can't write against a read only replica.\r\n", b"-MOVED 1 127.0.0.1:1\r\n")


class FaultProxy:
    def __init__(self, port):
        self.target, self.mode, self.slow_s, self.error = port, "pass", 2, 0
        self.sockets, self.lock = set(), threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode, cut=True):
        """From now on; connections that stand are cut unless the fault is to meet them."""
        assert mode in MODES, mode
        self.mode = mode
        if cut:
            self._cut()

    def stop(self):
        self.listener.close()
        self._cut()

    def _cut(self):
        with self.lock:
            sockets, self.sockets = self.sockets, set()
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == "down":
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        with self.lock:
            self.sockets |= {client, server}
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        self._pump(server, client, True)

    def _pump(self, source, sink, answers):
        try:
            while data := source.recv(65536):
                if answers:
                    data = self._fault(data)
                if data:
                    sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _fault(self, data):
        if self.mode == "silent":
            return b""
        if self.mode == "slow":
            time.sleep(self.slow_s)  # this is the fault
        elif self.mode == "garbage":
            return os.urandom(len(data))
        elif self.mode == "errors":
            self.error += 1
            count = max(1, len(re.findall(rb"^\*\d+\r\n|^\+", data, re.M)))
            return ERRORS[self.error % len(ERRORS)] * count
        return data
