"""Pages, help texts, log sentences and errors use plain words: those that a reader has to guess at stay out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Command
from typer.main import get_command

from consumers.cli.main import app

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for package in ("shim", "router", "consumers", "clusterbus") for path in ROOT.glob(f"{package}/**/*.py")
)
PAGES = sorted(path for path in ROOT.glob("**/*.md") if "/." not in f"/{path.relative_to(ROOT)}")

# Not words that are wrong in English, but words that this project once used for something else than its readers did.
RIDDLES = {
    r"\banew\b": "again",
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\btold\b|\btells\b": "reported, sent, notified",
    r"\bsomebody's word\b": "approval",
    r"\bbroken off\b": "interrupted",
    r"\bof late\b": "recently",
    r"\bleft alone for a time\b": "paused",
    r"\bas (it|they) (was|were) before\b": "left untouched",
    r"\bwhat holds\b": "the effective ...",
    r"\bthose before hold\b": "keeping the previous ones",
    r"\bbrought to nobody\b": "unroutable",
    r"\b(is|are|was) (?-i:none)\b": "is not a ...",
    r"\bfor want of\b": "without",
    r"\bof (its|their) own accord\b": "automatically",
    r"\bcomes? to nothing\b": "fails",
    r"\bgoes when\b": "is removed when",
    r"\bnever themselves\b": "never inline",
    r"\bkeeps? people from\b": "mutes",
    r"\b(is|are) through\b": "has finished",
    r"\bwhom\b": "who",
    r"\bin good order\b": "cleanly",
}

# Names in databases and in stored results, which nobody reads who did not look for them.
STORED = {
    (f"consumers/{module}.py", "told")
    for module in (
        "inspection/status/alert_listing",
        "store/alerts/alerts",
        "store/migrations/versions/alerts",
        "store/migrations/versions/ended_rows",
        "store/migrations/versions/lanes_and_rates",
        "store/schema/alert_tables",
        "store/schema/delivery_tables",
        "verbs/notify/notify_handler",
    )
}


def riddles(text: str) -> list[str]:
    """Return what stands in *text* and should not, with what to write instead."""
    return [
        f"{found[0]!r}: write {instead}"
        for word, instead in RIDDLES.items()
        if (found := re.search(word, text, re.IGNORECASE))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_plain_words(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)

    assert [(number, each) for number, line in enumerate(text.splitlines(), 1) for each in riddles(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_fits_a_screen(page):
    text = re.sub(r"```.*?```", lambda code: "\n" * code[0].count("\n"), page.read_text(), flags=re.DOTALL)
    lines = [
        (number, line) for number, line in enumerate(text.splitlines(), 1) if not line.startswith(("|", "![", "    "))
    ]

    assert [number for number, line in lines if len(line) > 120 and "](" not in line] == []


def test_help_texts_use_plain_words():
    found = dict(helps(get_command(app), "clusterbus"))

    assert len(found) > 300  # of all commands, and not only of the first level
    assert [(name, each) for name, text in found.items() for each in riddles(text)] == []


def test_texts_of_programs_use_plain_words():
    """Also names of columns and fields, and sentences that are put together; not docstrings."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {each}"
        for path in SOURCES
        for line, text in shown(ast.parse(path.read_text()))
        if (str(path.relative_to(ROOT)), text) not in STORED
        for each in riddles(text)
    ]

    assert wrong == []


def helps(command: Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield each help text of *command* and of all below it, with where it is shown."""
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
    # Typer has a copy of click in it, so the classes of click itself say nothing about its groups.
    for inner, below in getattr(command, "commands", {}).items():
        yield from helps(below, f"{name} {inner}")


def shown(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the literal texts in *tree* that are no docstrings, each with its line."""
    documentation = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for each in ast.walk(tree):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in documentation:
            yield each.lineno, each.value
