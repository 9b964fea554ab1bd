"""Parses the command lines of the mm commands, as strictly as the known facts allow.  Pure.

An option's value is the next word, whatever it begins with.  `--option=value` and shortened options are refused,
because it is not known whether GPFS accepts them.
"""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import get_args

from ...errors import did_you_mean
from ..cluster_state import Action, CallbackState
from ..errors import CommandRefused

ADD_USAGE = """\
mmaddcallback CallbackIdentifier --command CommandPathname
              --event Event[,Event...] [--priority Value]
              [--async | --sync [--timeout Seconds] [--onerror Action]]
              [-N {Node[,Node...] | NodeFile | NodeClass}]
              [--parms ParameterString ...]
or
mmaddcallback {-S Filename | --spec-file Filename}
"""

_VALUED = {"--command", "--event", "--priority", "--timeout", "--onerror", "-N", "--parms"}
_SECONDS = re.compile(r"[1-9][0-9]{0,8}")
_ACTIONS: tuple[Action, ...] = get_args(Action)


def parsed(
    argv: Sequence[str], valued: Collection[str], plain: Collection[str]
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the words of *argv* without options, and the values of each option; raises CommandRefused."""
    words: list[str] = []
    options: dict[str, list[str]] = {}
    rest = iter(argv)
    for word in rest:
        if word in plain:
            options.setdefault(word, []).append("")
        elif word in valued:
            value = next(rest, None)
            if value is None:
                raise CommandRefused(f"option {word} has no value")
            options.setdefault(word, []).append(value)
        elif word.startswith("-"):
            raise CommandRefused(f"there is no option {word!r}{did_you_mean(word, [*valued, *plain])}")
        else:
            words.append(word)
    for option, values in options.items():
        if len(values) > 1 and option != "--parms":
            raise CommandRefused(f"option {option} is given {len(values)} times: give it once")
    return words, options


def callback_of(argv: Sequence[str]) -> CallbackState:
    """Return the registration of an mmaddcallback with *argv*; only the words are checked."""
    words, options = parsed(argv, _VALUED, {"--async", "--sync"})
    if len(words) != 1:
        raise CommandRefused(f"one callback identifier is needed, but {len(words)} are given: {' '.join(words)}")
    for needed in ("--command", "--event"):
        if needed not in options:
            raise CommandRefused(f"option {needed} is missing")
    if "--async" in options and "--sync" in options:
        raise CommandRefused("--async and --sync exclude each other")
    nodes = options.get("-N", [""])[0]
    return CallbackState(
        identifier=words[0],
        command=options["--command"][0],
        events=tuple(each for each in options["--event"][0].split(",") if each),
        priority=_priority(options),
        sync="--sync" in options,
        timeout=_timeout(options),
        on_error=_action(options),
        nodes=(nodes,) if nodes else (),
        parms=" ".join(options.get("--parms", [])),
    )


def callbacks_of_file(text: str) -> list[CallbackState]:
    """Return the registrations of a `-S` file: one on each line, identifier first (recalled; quotes as in sh)."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            words = shlex.split(line)
            if words:
                found.append(callback_of(words))
        except (ValueError, CommandRefused) as error:
            raise CommandRefused(f"line {number}: {error}") from error
    if not found:
        raise CommandRefused("the file defines no callback")
    return found


def _priority(options: Mapping[str, list[str]]) -> float | None:
    for value in options.get("--priority", []):
        try:
            priority = float(value)
        except ValueError as error:
            raise CommandRefused(f"--priority {value!r} is not a number") from error
        if priority - priority != 0:
            raise CommandRefused(f"--priority {value!r} is not a finite number")
        return priority
    return None


def _timeout(options: Mapping[str, list[str]]) -> int | None:
    for value in options.get("--timeout", []):
        if not _SECONDS.fullmatch(value):
            raise CommandRefused(f"--timeout {value!r:.40} is not a whole number of seconds above 0")
        return int(value)
    return None


def _action(options: Mapping[str, list[str]]) -> Action | None:
    for value in options.get("--onerror", []):
        for action in _ACTIONS:
            if value == action:
                return action
        raise CommandRefused(f"--onerror {value!r} is not one of {', '.join(_ACTIONS)}{did_you_mean(value, _ACTIONS)}")
    return None
