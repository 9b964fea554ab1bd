"""Many nodes at once: which they are, and a command on each, through ClusterShell."""

from pathlib import Path

PROGRAM = Path(__file__).with_name("fanout.py")
"""One fan-out, to be started as a process of its own."""
