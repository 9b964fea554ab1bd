"""The command `clusterbus init`: asks for a few facts, and writes the files of a new site or of a demo."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from router.cli.output import ask, fail, note
from router.settings.loading import SYSTEM_FILE

from ...new_site import facts_to_ask
from ...new_site.facts_to_ask import QUESTIONS, Name, Question, Site

Cluster = Annotated[str | None, typer.Option(help="The name of the cluster, for its events.")]
Broker = Annotated[list[str] | None, typer.Option(help="A host of RabbitMQ, or HOST:PORT; may be repeated.")]
Authority = Annotated[str | None, typer.Option(help="The file of the site's CA certificates; none means no TLS.")]
Management = Annotated[str | None, typer.Option(help="Management API: https://ADMINISTRATOR@HOST:15671.")]
Hub = Annotated[list[str] | None, typer.Option(help="A host that runs router and consumers; may be repeated.")]
Login = Annotated[str | None, typer.Option(help="The user that logs in on nodes; uses sudo if not root.")]
Database = Annotated[str | None, typer.Option(help="postgresql://HOST; by default SQLite.")]
Mail = Annotated[str | None, typer.Option(help="A mail address that gets errors of the cluster.")]
MailServer = Annotated[str | None, typer.Option(help="A server that takes mail without a password.")]

_PATH = re.compile(r"[A-Za-z0-9/._-]+")


def init(  # noqa: PLR0913 - each is an option
    *,
    to: Annotated[Path, typer.Option(help="The folder to write.")] = SYSTEM_FILE.parent,
    cluster: Cluster = None,
    broker: Broker = None,
    ca: Authority = None,
    management: Management = None,
    hub: Hub = None,
    login: Login = None,
    database: Database = None,
    mail: Mail = None,
    mail_server: MailServer = None,
    demo: Annotated[bool, typer.Option("--demo", help="Write a demo with a simulated cluster.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: use defaults, and write.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="With --yes: replace files that differ.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files, and write nothing.")] = False,
) -> None:
    """Write the settings of a new site, its first subscriptions and its passwords; ask for what is not given."""
    from . import writing  # noqa: PLC0415 - `--help` needs none of what writes

    brokers, hubs = (" ".join(each) if each else None for each in (broker, hub))
    facts = (cluster, brokers, ca, management, hubs, login, database, mail, mail_server)
    how = writing.How(yes=yes, replace=replace, dry_run=dry_run)
    # The path becomes a part of URLs and templates, and of commands that people type.
    if not _PATH.fullmatch(str(to.absolute())):
        fail(f"--to {to.absolute()}: use a folder whose path has only letters, digits, and / . _ -", 2)
    if not demo:
        given = dict(zip((each.name for each in QUESTIONS), facts, strict=True))
        writing.write_site(to.absolute(), _site(given, asks=not yes and sys.stdin.isatty()), how)
        return
    if any(facts) or to == SYSTEM_FILE.parent:
        fail("--demo takes --to FOLDER, and no facts about a site", 2)
    writing.write_demo(to.absolute(), how)


def _site(values: Mapping[Name, str | None], *, asks: bool) -> Site:
    """Return the site by the *values* of the options; the command asks for others, or has defaults for them."""
    try:
        return facts_to_ask.site(_answers(values, asks=asks))
    except ValueError as error:
        fail(str(error), 2)


def _answers(values: Mapping[Name, str | None], *, asks: bool) -> dict[str, str]:
    """Return the checked value of each fact: of its option, else the answer if it *asks*, else the default."""
    found: dict[str, str] = {}
    missing = [each.option for each in QUESTIONS if values[each.name] is None and each.default is None]
    if missing and not asks:
        fail(f"{' and '.join(missing)}: needed where no questions can be asked", 2)
    for each in QUESTIONS:
        given = values[each.name]
        if given is not None:
            found[each.name] = _checked(each, given)
        elif asks and not (each.asked_if and not found[each.asked_if]):
            found[each.name] = _answer(each, found)
        else:
            found[each.name] = each.default or ""
    return found


def _checked(question: Question, value: str) -> str:
    try:
        return question.check(value)
    except ValueError as error:
        fail(f"{question.option}: {error}", 2)


def _answer(question: Question, before: Mapping[str, str]) -> str:
    """Return the first answer to *question* that can be, with those *before*; whatever is wrong is said at once."""
    from ...new_site import site_files  # noqa: PLC0415 - as above

    while True:
        answer = ask(question.text, question.default)
        try:
            found = question.check(answer)
            if question.name == "ca" and found not in ("", facts_to_ask.PLAIN):
                site_files.authority(Path(found))
            if wrong := facts_to_ask.contradiction({**before, question.name: found}):
                raise ValueError(wrong)  # noqa: TRY301 - one place says what is wrong
        except ValueError as error:
            note(f"  {error}")
        else:
            return found
