"""A mail server that keeps what it gets: enough of RFC 5321 for a client to be judged by."""
import base64
import email
import email.policy
import socketserver
import threading


class Session(socketserver.StreamRequestHandler):
    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")

    def line(self):
        return self.rfile.readline().decode().rstrip("\r\n")

    def handle(self):
        server, message, self.user = self.server, {"to": []}, None
        self.say("220 fake ESMTP")
        while line := self.line():
            server.lines.append(line)
            verb = line.upper().split(" ")[0]
            if verb == "EHLO":
                self.say("250-fake")
                self.say("250 AUTH PLAIN LOGIN")
            elif verb == "AUTH":
                self.sign_in(line.split(" "))
            elif verb == "MAIL":
                message["from"] = line
                self.say("550 no" if server.refuses else "250 ok")
            elif verb == "RCPT":
                message["to"].append(line)
                self.say("250 ok")
            elif verb == "DATA":
                self.data(message)
                message = {"to": []}
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok" if verb in ("NOOP", "RSET") else "500 what")

    def sign_in(self, words):
        if words[1].upper() == "PLAIN":
            if len(words) < 3:
                self.say("334 ")
                words.append(self.line())
            _, user, password = base64.b64decode(words[2]).decode().split("\0")
        else:
            self.say("334 VXNlcm5hbWU6")
            user = base64.b64decode(self.line()).decode()
            self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(self.line()).decode()
        good = (user, password) == self.server.account
        self.user = user if good else None
        self.say("235 welcome" if good else "535 no")

    def data(self, message):
        self.say("354 go on")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line[1:] if line.startswith(b"..") else line)
        raw = b"".join(lines)
        parsed = email.message_from_bytes(raw, policy=email.policy.default)
        self.server.mails.append({**message, "user": self.user, "raw": raw, "mail": parsed})
        self.say("250 kept")


class Smtp(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True

    def __init__(self, account=("user", "secret")):
        super().__init__(("127.0.0.1", 0), Session)
        self.account, self.mails, self.lines, self.refuses = account, [], [], False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]
