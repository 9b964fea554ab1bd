"""A wrong command line: what was written is shown as it is."""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from consumers.cli.main import COMMANDS
from consumers.cli.main import app as clusterbus_app
from consumers.store.database import Store
from router.cli.app import Commands


@pytest.fixture
def run():
    """A function that runs a command of one option; returns exit code and what it said."""
    app = typer.Typer(cls=Commands, rich_markup_mode=None)

    @app.command()
    def one(number: int = 1) -> None:
        if number == 3:
            raise typer.Abort
        raise typer.Exit(number)

    @app.command()
    def other() -> None:
        """Be there, so that commands have names."""

    def called(*words):
        done = CliRunner().invoke(app, words)
        return done.exit_code, done.output

    return called


@pytest.mark.parametrize("words", [("[red]\x1b[2J",), ("one", "--[red]\x1b[2J"), ("one", "[red]\x1b[2J")])
def test_what_is_wrong_with_a_command_line_is_said_visibly_and_ends_with_2(run, words):
    code, said = run(*words)

    assert code == 2
    assert "[red]\\x1b[2J" in said
    assert "\x1b" not in said


def test_commands_end_with_their_own_exit_codes(run):
    assert [run("one", "--number", str(each))[0] for each in (0, 1, 2, 4)] == [0, 1, 2, 4]
    assert run("other") == (0, "")
    assert run("one", "--number", "3") == (1, "aborted\n")
    assert run("one", "--help")[0] == 0


def imported(*words: str, **environment: str) -> set[str]:
    """Return which modules the command `clusterbus` has imported when it ends."""
    code = f"""
import sys
sys.argv = ["clusterbus", *{list(words)!r}]
from clusterbus.__main__ import main
try:
    main()
except SystemExit:
    pass
print("\\n" + " ".join(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("words", "needless"),
    [
        (("--help",), {"pydantic", "sqlalchemy", "pika", "structlog", "jinja2", "cel", "yaml", "rich"}),
        (("--version",), {"pydantic", "sqlalchemy", "pika", "structlog", "jinja2", "cel", "yaml", "rich"}),
        (("settings",), {"sqlalchemy", "pika", "structlog", "jinja2", "cel", "rich", "prompt_toolkit"}),
        (("catalogue", "diskFailure"), {"sqlalchemy", "pika", "structlog", "jinja2", "cel", "rich"}),
        (("route", "diskFailure"), {"sqlalchemy", "pika", "structlog", "rich", "prompt_toolkit", "apprise", "httpx2"}),
        (("dead", "list"), {"pika", "structlog", "alembic", "cel", "rich", "prompt_toolkit", "apprise"}),
    ],
)
def test_a_command_imports_what_it_needs(words, needless, tmp_path):
    # Of its own: the machine's store is not the test's to upgrade. There already: making one needs more modules.
    store = f"sqlite:///{tmp_path / 'store.db'}"
    Store(store).close()

    assert imported(*words, CLUSTERBUS_CONSUMERS_STORE=store) & needless == set()


def test_the_version_is_that_of_the_distribution():
    done = subprocess.run(
        [sys.executable, "-m", "clusterbus", "--version"], capture_output=True, text=True, timeout=240, check=True
    )

    assert done.stdout == f"clusterbus {version('clusterbus')}\n"


# The relay gets all its words, `--help` among them.
OWN = {name: each for name, each in COMMANDS.items() if not each.name.endswith("_app") and name != "relay"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_command_says_in_its_help_what_its_function_says(name):
    done = CliRunner().invoke(clusterbus_app, [name, "--help"])
    first = inspect.getdoc(getattr(import_module(OWN[name].module), OWN[name].name)).split("\n\n")[0]

    assert " ".join(first.split()) in " ".join(done.output.split())


@pytest.mark.thorough
@pytest.mark.parametrize("words", [("--help",), ("dead", "--help"), ("nodes", "deploy", "--help")])
def test_help_is_text_with_no_boxes_and_no_markup(words):
    done = CliRunner().invoke(clusterbus_app, words)

    assert done.output.isascii()
    assert "rich" not in imported(*words)


@pytest.mark.thorough
@pytest.mark.parametrize(("line", "found"), [("catalogue diskF", "diskFailure"), ("emit gp", "gpfs"), ("rou", "route")])
def test_the_shell_completes_commands_sources_and_event_types(line, found):
    words = f"clusterbus {line}"
    environment = os.environ | {
        "_CLUSTERBUS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = str(Path(sys.executable).with_name("clusterbus"))
    done = subprocess.run([program], capture_output=True, text=True, timeout=240, check=False, env=environment)

    assert found in done.stdout.split()
