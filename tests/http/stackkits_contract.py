#!/usr/bin/env python3
"""Every route of stackkits held to the contract."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from contract import Contract, World  # noqa: E402


class StackKits(World):
    service = "stackkits"
    body_limit = 2 << 20

    def good(self, method, path, permission):
        return self.user(method, plan="enterprise")

    def params(self, path):
        return {"id": "base-homelab", "version": "1.0.0"}


Contract(StackKits()).run()
