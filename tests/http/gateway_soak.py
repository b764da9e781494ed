#!/usr/bin/env python3
# not-quick: full load for ten seconds
"""tests/soak/run for ten seconds; its long run is by hand, see there."""
import os
import pathlib
import sys

soak = pathlib.Path(__file__).resolve().parent.parent / "soak/run"
sys.path.insert(0, str(soak.parent.parent / "support"))
from gateway_rig import gateway_binary  # noqa: E402

os.environ["KOMBI_BIN_DIR"] = str(pathlib.Path(gateway_binary()).parent)
os.execv(sys.executable, [sys.executable, str(soak), "--seconds", "10"])
