"""A demo in one folder: a simulated GPFS cluster, settings and subscriptions for `clusterbus up`."""

from __future__ import annotations

import shlex
from pathlib import Path

from router import interpreter, simulator

from .site_files import SETTINGS, SUBSCRIPTIONS, SiteFile, as_yaml

_CLUSTER, _NODES = "prod", 6
_SPOOL = ("tmp", "new", "bad", "kept")

_SUBSCRIPTIONS = """\
# The subscriptions of the demo.  Change them while it runs: consumers read this file again.
version: 1
subscriptions:
  # Every event, a line of JSON for each.
  - name: audit
    on: "#"
    log: {{file: {folder}/events.jsonl}}

  # Starts a disk that failed, by the command of the simulated cluster.
  - name: restart-disk
    on: diskFailure
    run:
      command: [{folder}/commands/mmchdisk, "{{{{ data.fsName }}}}", start, -d, "{{{{ data.diskName | join(';') }}}}"]
      timeout: 1m
"""


def files(folder: Path) -> list[SiteFile]:
    """Return the files of a demo in *folder*, the settings last."""
    subscriptions = _SUBSCRIPTIONS.format(folder=folder)
    head = "# The settings of a demo on one machine: its broker, state and spool are in this folder.\n"
    return [
        SiteFile(folder / SUBSCRIPTIONS, subscriptions.encode()),
        SiteFile(folder / SETTINGS, (head + as_yaml(_settings(folder))).encode()),
    ]


def _settings(folder: Path) -> dict[str, dict[str, str]]:
    return {
        "consumers": {
            "subscriptions": str(folder / SUBSCRIPTIONS),
            "handlers": str(folder / "handlers"),
            "jobs": str(folder / "jobs"),
            "callbacks": str(folder / "callbacks"),
            "transport": "record",
            "recorded": str(folder / "recorded.jsonl"),
        },
        "shim": {"spool": str(_spool(folder))},
        "gpfs": {"commands": str(folder / "commands"), "memory": str(folder / "gpfs.json")},
        "facts": {"cluster": _CLUSTER, "store": f"sqlite:///{folder / 'facts.db'}"},
    }


def _spool(folder: Path) -> Path:
    return folder / "spool"


def make_cluster(folder: Path) -> None:
    """Create the simulated cluster in *folder*, its mm commands, and the spool into which its nodes capture events."""
    state, spool = folder / "cluster", _spool(folder)
    for name in _SPOOL:
        (spool / name).mkdir(parents=True, exist_ok=True)
    spool.chmod(0o2770)
    cluster = simulator.Cluster.create(state, nodes=_NODES, name=_CLUSTER)
    # One relay sends what all of the nodes capture.
    simulator.install_capture(cluster, options=["--spool", str(spool)])
    simulator.register_all(cluster)
    simulator.install(folder / "commands", state)
    program = folder / "simulator"
    words = shlex.join(interpreter.module("router.simulator", "--state", str(state)))
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)


def next_steps(folder: Path) -> str:
    """Return the commands that start the demo in *folder* and use it."""
    up = shlex.quote(str(folder / "up"))
    ours = f"clusterbus --settings {shlex.quote(str(folder / SETTINGS))}"
    return f"""\
# Start everything; it needs Docker or rabbitmq-server, and stops with Ctrl-C:
{ours} up --folder {up}
# In another terminal, let a disk fail, and see what happens:
. {up}/environment
{shlex.quote(str(folder / "simulator"))} raise diskFailure fsName=gpfs1 diskName=nsd1
{ours} tail --since 1h --no-follow
{ours} deliveries
{ours} facts read"""
