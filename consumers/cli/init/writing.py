"""Shows the files of a new site, asks about each, and writes it; then validates them and shows the next commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from router.broker.users.file_readers import Readers
from router.broker.users.password_files import Passwords
from router.cli.output import block, confirm, fail, note, show
from router.settings import loading, site_catalogue

from ...new_site import demo_site, file_writing, next_steps, site_files
from ...new_site.facts_to_ask import Site
from ...new_site.file_writing import Standing
from ...new_site.site_files import CONSUMER, OPERATOR, ROUTER, SiteFile
from ...subscriptions import validation


@dataclass(frozen=True, slots=True)
class How:
    """How files are written: without questions (*yes*), over others (*replace*), or not at all (*dry_run*)."""

    yes: bool = False
    replace: bool = False
    dry_run: bool = False


def write_site(folder: Path, site: Site, how: How) -> None:
    """Write the files and passwords of *site* to *folder*, those that are confirmed; end with the next commands."""
    try:
        files = site_files.files(folder, site)
    except ValueError as error:
        fail(str(error), 2)
    _write_files(files, how)
    _make_passwords(folder, site, how)
    if how.dry_run:
        note("nothing was written")
        return
    _validate(folder)
    show()
    show("What to do next:")
    show()
    block(next_steps.steps(folder, site))


def write_demo(folder: Path, how: How) -> None:
    """Write a demo to the *folder*, which must be empty or new; end with the commands that start and use it."""
    if folder.exists() and any(folder.iterdir()):
        fail(f"--to {folder} is not empty: name an empty folder, or one that does not exist", 2)
    files = demo_site.files(folder)
    _write_files(files, how)
    if how.dry_run:
        note("nothing was written")
        return
    demo_site.make_cluster(folder)
    _validate(folder)
    show()
    block(demo_site.next_steps(folder))


def _write_files(files: Sequence[SiteFile], how: How) -> None:
    """Show each of *files*, and write it if that is confirmed; ends the command before the first one otherwise."""
    standings = [(each, file_writing.standing(each)) for each in files]
    others = [str(each.path) for each, standing in standings if standing == "differs"]
    asks = not how.yes and not how.dry_run
    if others and how.yes and not how.replace:
        fail(f"{' and '.join(others)}: exists with another content, and nothing was written; --replace replaces it")
    if asks and not sys.stdin.isatty() and any(standing != "same" for _, standing in standings):
        fail("no questions can be asked here: --yes writes the files, --dry-run shows them", 2)
    for file, standing in standings:
        _show(file, standing)
        if standing == "same" or how.dry_run:
            continue
        if asks:
            confirm(f"Replace {file.path}?" if standing == "differs" else f"Write {file.path}?")
        file_writing.write(file, replace=standing == "differs")


def _show(file: SiteFile, standing: Standing) -> None:
    if standing == "same":
        show(f"{file.path} is as it should be")
        return
    show(f"{file.path}{', which differs' if standing == 'differs' else ''}:")
    show()
    text = file_writing.changes(file) if standing == "differs" else file.content.decode()
    block("\n".join(f"    {line}" for line in text.splitlines()))
    show()


def _make_passwords(folder: Path, site: Site, how: How) -> None:
    readers = Readers.of_system([ROUTER, CONSUMER], [OPERATOR])
    kinds = {"users": (ROUTER, CONSUMER, OPERATOR), "databases": (ROUTER, CONSUMER) if site.database else ()}
    kept = {kind: Passwords(folder / "secrets" / kind, readers=readers) for kind in kinds}
    new = [
        (kept[kind], user)
        for kind, users in kinds.items()
        for user in users
        if not kept[kind].file(user).exists() or kept[kind].misowned(user)
    ]
    for passwords, user in new:
        show(f"{passwords.file(user)}: a random password, for its own program only")
    if how.dry_run:
        return
    if new and not how.yes:
        confirm("Create these passwords?")
    for passwords, user in new:
        passwords.made(user)
        passwords.repair(user)
    if not site_files.is_system(folder):
        file_writing.make_closed_folder(folder / "state")


def _validate(folder: Path) -> None:
    """Validate what was written as `clusterbus check` does; ends the command with the mistakes."""
    settings = loading.load(folder / site_files.SETTINGS, environment={}, system=folder / "none").settings
    catalogues, _ = site_catalogue.read(settings.router.catalogue)
    report = validation.check([settings.consumers.subscriptions], catalogues, settings)
    if wrong := (*report.mistakes, *report.faults):
        for each in wrong:
            show(f"error: {each}", err=True)
        raise typer.Exit(1)
