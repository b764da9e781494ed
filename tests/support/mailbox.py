"""The mailbox of development: what a service would have sent."""
import email
import email.policy
import os
import pathlib
import re

from waiting import until


class Mailbox:
    def __init__(self, folder=None):
        self.folder, self.seen = pathlib.Path(folder or os.environ["KOMBI_MAIL_DIR"]), set()

    def fresh(self):
        """Mails that were not told of before, oldest first."""
        names = sorted(f.name for f in self.folder.glob("mail_*.eml") if f.name not in self.seen)
        self.seen.update(names)
        return [email.message_from_bytes((self.folder / n).read_bytes(), policy=email.policy.default) for n in names]

    def next(self, what):
        return until(self.fresh, f"a mail: {what}")[0]


def text(mail):
    return mail.get_body(("plain",)).get_content()


def token(mail):
    return re.search(r"/(eyJ[\w-]+\.[\w-]+\.[\w-]+)", text(mail))[1]


def code(mail):
    return re.search(r"\b(\d{8})\b", text(mail))[1]
