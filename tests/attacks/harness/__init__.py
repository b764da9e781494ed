"""Drives the attack corpora against the release binaries, black-box."""
