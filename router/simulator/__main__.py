"""The simulator's command line.

    python -m router.simulator [--state FOLDER] COMMAND ...

    create [--nodes N] [--servers N] [--name NAME] [--file-systems A,B] [--down]
                                                create a cluster
    capture [--everywhere]                      install capture on every node and register it
    commands FOLDER                             write the mm commands as programs into FOLDER
    raise EVENT [NAME=VALUE ...] [--node N] [--times N] [--json]     raise an event
    behave [SWITCH=VALUE ...]                   set switches for unknown details of GPFS, and list all switches
    grow NODES                                  add clients, which are down at first
    scenario NAME [--rate N/s] [--seed N] [--speed X] [--dry-run] [--json]
                                                play `cluster start`, `disk failure`, `space running low`,
                                                `quorum lost`, `rolling restart` or `AFM home lost`
    mmaddcallback, mmlscallback, mmlsdisk, mmchdisk ...              as GPFS has them

You may also set the state folder in CLUSTERBUS_SIMULATOR.  Exit codes: 0 done; 1 refused, or a command that an event
ran did not end with 0; 2 wrong usage; 3 no usable state folder.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from .commands import COMMANDS
from .errors import CommandRefused, StateUnusable
from .install import STATE_VARIABLE, install, install_capture, register_all
from .scenarios.player import Played, play
from .scenarios.scenarios import Step, steps
from .simulated_cluster import Cluster

DONE, FOUND_WRONG, USED_WRONGLY, UNREACHABLE = range(4)


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(command_line(sys.argv[1:]))


def command_line(argv: Sequence[str]) -> int:
    """Run one command, print its output, and return the exit code."""
    state, rest = _state(argv)
    if state is None or not rest:
        sys.stderr.write(__doc__ or "")
        return USED_WRONGLY
    name, words = rest[0], rest[1:]
    try:
        if name in COMMANDS:
            command, _ = COMMANDS[name]
            sys.stdout.write(command(Cluster(state), words, sys.stderr.write))
            return DONE
        return _own(state, rest)
    except CommandRefused as error:
        usage = f"Usage:\n{COMMANDS[name][1]}" if name in COMMANDS else ""
        sys.stderr.write(f"{name}: {error}\n{usage}")
        return FOUND_WRONG
    except StateUnusable as error:
        sys.stderr.write(f"{name}: {error}\n")
        return UNREACHABLE


def _state(argv: Sequence[str]) -> tuple[Path | None, list[str]]:
    if argv[:1] == ["--state"] and len(argv) > 1:
        return Path(argv[1]), list(argv[2:])
    folder = os.environ.get(STATE_VARIABLE)
    return (Path(folder) if folder else None), list(argv)


def _own(state: Path, argv: list[str]) -> int:
    """Run one of the simulator's own commands; argparse exits with 2 on wrong usage."""
    wanted = _parser().parse_args(argv)
    match wanted.command:
        case "create":
            systems = [each for each in wanted.file_systems.split(",") if each]
            size, name, up = wanted.nodes, wanted.name, not wanted.down
            Cluster.create(state, size, name, file_systems=systems, up=up, servers=wanted.servers)
        case "capture":
            cluster = Cluster(state)
            install_capture(cluster)
            register_all(cluster, everywhere=wanted.everywhere)
        case "commands":
            install(wanted.folder, state)
        case "behave":
            _behave(Cluster(state), wanted.switches)
        case "grow":
            Cluster(state).grow(wanted.nodes)
        case "raise":
            return _raise(Cluster(state), wanted)
        case "scenario":
            return _scenario(Cluster(state), wanted)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulator", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create")
    create.add_argument("--nodes", type=int, default=12)
    create.add_argument("--servers", type=int)
    create.add_argument("--name", default="prod")
    create.add_argument("--file-systems", default="gpfs1,gpfs2")
    create.add_argument("--down", action="store_true")
    capture = commands.add_parser("capture")
    capture.add_argument("--everywhere", action="store_true")
    programs = commands.add_parser("commands")
    programs.add_argument("folder", type=Path)
    behave = commands.add_parser("behave")
    behave.add_argument("switches", nargs="*", metavar="SWITCH=VALUE")
    event = commands.add_parser("raise")
    event.add_argument("event")
    event.add_argument("values", nargs="*", metavar="NAME=VALUE")
    event.add_argument("--node")
    event.add_argument("--times", type=int, default=1)
    event.add_argument("--json", action="store_true")
    commands.add_parser("grow").add_argument("nodes", type=int)
    scenario = commands.add_parser("scenario")
    scenario.add_argument("name", nargs="+")
    scenario.add_argument("--rate", type=_rate, metavar="N/s")
    scenario.add_argument("--seed", type=int, default=0)
    scenario.add_argument("--speed", type=_positive, default=1.0)
    scenario.add_argument("--dry-run", action="store_true")
    scenario.add_argument("--json", action="store_true")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _rate(text: str) -> float:
    return _positive(text.removesuffix("/s"))


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise CommandRefused(f"{word!r} must have the form NAME=VALUE")
        pairs[name] = value
    return pairs


def _behave(cluster: Cluster, words: Sequence[str]) -> None:
    try:
        behaviour = cluster.behave(**_pairs(words))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CommandRefused(f"switch {first['loc'][0]}: {first['msg']}") from error
    sys.stdout.write("".join(f"{name} = {value}\n" for name, value in behaviour))


def _raise(cluster: Cluster, wanted: argparse.Namespace) -> int:
    runs = cluster.raise_event(wanted.event, _pairs(wanted.values), wanted.node, times=wanted.times)
    if wanted.json:
        sys.stdout.write(json.dumps([asdict(each) for each in runs]) + "\n")
    else:
        for each in runs:
            ending = "no exit code" if each.exit_code is None else f"exit {each.exit_code}"
            sys.stdout.write(f"{each.node}  {each.identifier}  {ending}{'  ' + each.reason if each.reason else ''}\n")
    return DONE if all(each.exit_code == 0 for each in runs) else FOUND_WRONG


def _scenario(cluster: Cluster, wanted: argparse.Namespace) -> int:
    """Play the scenario, or list its steps; print a summary at the end."""
    planned = steps(" ".join(wanted.name), cluster.state, seed=wanted.seed, rate=wanted.rate)
    if wanted.dry_run:
        for step in planned:
            _print(step, None, as_json=wanted.json)
        return DONE
    count, runs, wrong, latest = 0, 0, 0, timedelta()
    for each in play(cluster, planned, speed=wanted.speed):
        _print(each.step, each, as_json=wanted.json)
        count, runs, wrong = count + 1, runs + len(each.runs), wrong + (not each.succeeded)
        latest = max(latest, each.late)
    sys.stderr.write(f"{count} steps, {runs} commands run, {wrong} failed, {latest.total_seconds():.1f} s behind\n")
    return FOUND_WRONG if wrong else DONE


def _print(step: Step, played: Played | None, *, as_json: bool) -> None:
    moment = step.moment.total_seconds()
    if as_json:
        document: dict[str, object] = {"at": round(moment, 3), "event": step.event or None, "values": dict(step.values)}
        document |= {"node": step.node, "command": list(step.command) or None}
        if played is not None:
            document |= {"runs": [asdict(each) for each in played.runs], "refused": played.refused or None}
        line = json.dumps(document)
    else:
        what = list(step.command) or [step.event, *(f"{name}={value}" for name, value in step.values.items())]
        line = f"{moment:10.1f}  {step.node or '':<8}  {' '.join(what)}"
        if played is not None and not played.succeeded:
            line += f"  ! {played.refused or 'a command failed'}"
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
