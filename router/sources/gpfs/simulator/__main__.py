"""The simulator's command line.

    python -m router.sources.gpfs.simulator [--state FOLDER] COMMAND ...

    create [--nodes N] [--name NAME] [--file-systems A,B] [--down]   make a cluster
    capture [--everywhere]                      put capture on every node and register it
    commands FOLDER                             write the mm commands as programs into FOLDER
    raise EVENT [NAME=VALUE ...] [--node N] [--times N] [--json]     let an event happen
    behave [SWITCH=VALUE ...]                   set what is not known of GPFS; lists the switches
    mmaddcallback, mmdelcallback, mmlscallback, mmlscluster ...      as GPFS has them

The state folder may also be given in CLUSTERBUS_SIMULATOR.  Exit codes: 0 done; 1 refused, or a command that an event
ran did not end with 0; 2 used wrongly; 3 no usable state folder.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from .cluster import Cluster
from .commands import COMMANDS
from .errors import CommandRefused, StateUnusable
from .installing import STATE_VARIABLE, install, install_capture, register_all

DONE, FOUND_WRONG, USED_WRONGLY, UNREACHABLE = range(4)


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    sys.exit(command_line(sys.argv[1:]))


def command_line(argv: Sequence[str]) -> int:
    """Run one command, print what it says, and return the exit code."""
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
    """Run one of the simulator's own commands; argparse leaves with 2 where it is used wrongly."""
    wanted = _parser().parse_args(argv)
    match wanted.command:
        case "create":
            systems = [each for each in wanted.file_systems.split(",") if each]
            Cluster.create(state, wanted.nodes, wanted.name, file_systems=systems, up=not wanted.down)
        case "capture":
            cluster = Cluster(state)
            install_capture(cluster)
            register_all(cluster, everywhere=wanted.everywhere)
        case "commands":
            install(wanted.folder, state)
        case "behave":
            _behave(Cluster(state), wanted.switches)
        case "raise":
            return _raise(Cluster(state), wanted)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulator", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create")
    create.add_argument("--nodes", type=int, default=12)
    create.add_argument("--name", default="prod")
    create.add_argument("--file-systems", default="gpfs1,gpfs2")
    create.add_argument("--down", action="store_true")
    capture = commands.add_parser("capture")
    capture.add_argument("--everywhere", action="store_true")
    programs = commands.add_parser("commands")
    programs.add_argument("folder", type=Path)
    behave = commands.add_parser("behave")
    behave.add_argument("switches", nargs="*", metavar="SWITCH=VALUE")
    happen = commands.add_parser("raise")
    happen.add_argument("event")
    happen.add_argument("values", nargs="*", metavar="NAME=VALUE")
    happen.add_argument("--node")
    happen.add_argument("--times", type=int, default=1)
    happen.add_argument("--json", action="store_true")
    return parser


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise CommandRefused(f"{word!r} is no NAME=VALUE")
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


if __name__ == "__main__":
    main()
