"""Manual pages, written from the help texts of the commands: `clusterbus(1)`, and one for each of its commands."""

from collections.abc import Iterator
from typing import Any

from typer import Context
from typer.core import TyperGroup

_NAME = "clusterbus"
_FILES = (
    ("/etc/clusterbus/clusterbus.yaml", "the settings"),
    ("/etc/clusterbus/subscriptions.yaml", "the subscriptions"),
    ("/etc/clusterbus/secrets", "passwords, each readable by the program that needs it"),
    ("/var/lib/clusterbus", "the state of router and consumers, if it is not in PostgreSQL"),
    ("/usr/share/doc/clusterbus/examples", "complete examples of settings and subscriptions"),
)
_CODES = (
    ("0", "done"),
    ("1", "found a problem"),
    ("2", "wrong usage, settings or subscriptions"),
    ("3", "cannot reach the broker or another system that it needs"),
)


def pages(program: TyperGroup, version: str) -> dict[str, str]:
    """Return the text of each page of *program* by the name of its file, such as `clusterbus-dead.1`."""
    top = Context(program, info_name=_NAME)
    written = {f"{_NAME}.1": "\n".join(_page(program, top, version)) + "\n"}
    for name in program.list_commands(top):
        command = program.get_command(top, name)
        within = Context(command, info_name=name, parent=top)  # type: ignore[arg-type]  # it was listed
        written[f"{_NAME}-{name}.1"] = "\n".join(_page(command, within, version)) + "\n"
    return written


def escaped(text: str) -> str:
    r"""Return *text* as roff shows it as it is.

    >>> escaped(".a -b 'c' \\d")
    '\\&.a \\-b \\(aqc\\(aq \\ed'
    """
    marked = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in marked.splitlines())


def _page(command: Any, context: Context, version: str) -> Iterator[str]:  # noqa: ANN401 - a command of click
    title = context.command_path.replace(" ", "-")
    yield f'.TH "{title.upper()}" 1 "" "clusterbus {version}" "clusterbus"'
    yield from (".SH NAME", f"{escaped(title)} \\- {escaped(_summary(command))}")
    yield ".SH SYNOPSIS"
    yield from _usage(command, context)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or _summary(command))
    yield from _parameters(command, context, ".SH OPTIONS")
    names = command.list_commands(context) if isinstance(command, TyperGroup) else []
    if names:
        yield ".SH COMMANDS"
    for name in names:
        below = command.get_command(context, name)
        if context.parent is None:
            yield from (".TP", f"\\fB{escaped(title)}\\-{escaped(name)}\\fR(1)", escaped(_summary(below)))
        else:
            yield from _section(below, Context(below, info_name=name, parent=context))
    if context.parent is None:
        yield from _table(".SH FILES", _FILES)
        yield from _table(".SH EXIT STATUS", _CODES)
    else:
        yield from (".SH SEE ALSO", ".BR clusterbus (1)")


def _section(command: Any, context: Context) -> Iterator[str]:  # noqa: ANN401 - a command of click
    yield f".SS {escaped(context.command_path)}"
    yield from _usage(command, context)
    yield from (".PP", *_paragraphs(command.help or ""))
    yield from _parameters(command, context, "")


def _usage(command: Any, context: Context) -> Iterator[str]:  # noqa: ANN401 - a command of click
    yield f".B {escaped(context.command_path)}"
    yield escaped(" ".join(command.collect_usage_pieces(context)))


def _parameters(command: Any, context: Context, heading: str) -> Iterator[str]:  # noqa: ANN401 - a command of click
    found = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    if found and heading:
        yield heading
    for words, text in found:
        yield from (".TP", f"\\fB{escaped(words)}\\fR", escaped(" ".join(text.split())))


def _paragraphs(text: str) -> Iterator[str]:
    # A form feed ends what `--help` shows, and a line with \b keeps the lines of a paragraph.
    for number, paragraph in enumerate(text.partition("\f")[0].strip().split("\n\n")):
        if number:
            yield ".PP"
        lines = paragraph.splitlines()
        if lines[:1] == ["\b"]:
            yield from (".nf", *(escaped(line) for line in lines[1:]), ".fi")
        else:
            yield from (escaped(line.strip()) for line in lines)


def _summary(command: Any) -> str:  # noqa: ANN401 - a command of click
    return str(command.get_short_help_str(limit=1000)).rstrip(".")


def _table(heading: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield heading
    for name, text in rows:
        yield from (".TP", f"\\fB{escaped(name)}\\fR", escaped(text))
