"""What the pages on subscriptions show is right, and what there is stands on them: examples, commands, keys, words."""

import ast
import re
import shlex
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from consumers.cli import options
from consumers.cli.main import app
from consumers.deliveries import FOLDED
from consumers.delivery.gates.approval import ApprovalGate
from consumers.delivery.gates.delay import DelayGate
from consumers.delivery.gates.fold import FoldGate
from consumers.delivery.gates.limits.at_most import AtMostGate
from consumers.delivery.gates.limits.node_limits import BlastRadiusGate
from consumers.delivery.gates.limits.stopping import StopGate
from consumers.delivery.gates.open_breaker import OpenBreakerGate
from consumers.delivery.gates.order import OrderGate
from consumers.delivery.gates.pipeline import gates_of
from consumers.delivery.gates.rate import RateGate
from consumers.delivery.gates.silence import SilenceGate
from consumers.delivery.gates.suppression import SuppressionGate
from consumers.inspection import rule_tests
from consumers.inspection.test_runner import try_all
from consumers.policies import retry
from consumers.policies.guards import Ask, Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.schedules.delays import Delay
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.subscriptions import validation as checking
from consumers.subscriptions.models import Defaults, Entry, File, Mode
from consumers.subscriptions.test_cases import Expectation, Expected, Given
from consumers.verbs.interface import Handler, installed
from consumers.verbs.log.syslog import SyslogTarget
from consumers.verbs.notify.verb import NotifyVerb
from router.broker.topology import RETRY_STEPS
from router.model.catalogue import Catalogues
from router.settings.models import Contact, Settings
from tests.consuming import make_subscription

ROOT = Path(__file__).parents[2]
SUBSCRIPTIONS = ROOT / "consumers" / "README.md"
VERBS = sorted((ROOT / "consumers" / "verbs").glob("*/README.md"))
PAGES = [ROOT / "README.md", SUBSCRIPTIONS, *VERBS]
FOR_EDITORS = "# yaml-language-server: $schema=subscriptions.schema.json\n"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def relative(page):
    """Return where *page* is, as a test is called."""
    return page.relative_to(ROOT).as_posix()


# What stands before a key where the page lists it.
KEYS = {
    Entry: "",
    File: "",
    Defaults: "",
    RetryPolicy: "",
    Folding: "fold.",
    OncePer: "once_per.",
    Limit: "limit.",
    Guard: "",
    Ask: "ask.",
    Expectation: "",
    Given: "given.",
    Expected: "expect.",
}


@pytest.fixture
def handlers(tmp_path, monkeypatch):
    """A folder for the Python that a page shows; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "handlers"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_subscriptions_of_a_page_have_no_mistakes_and_pass_their_tests(page, handlers, tmp_path):
    blocks = BLOCK.findall(page.read_text())
    texts = [text.removeprefix(FOR_EDITORS) for kind, text in blocks if kind == "yaml"]
    examples = [whole(text) for text in texts if text.startswith(("version: 1", "- name:"))]
    settings = shown_settings(blocks, handlers)

    assert examples
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example)
        report = checking.check(
            [file], Catalogues.shipped(), settings, try_tests=try_all, try_rule_tests=rule_tests.failures
        )

        assert [*report.mistakes, *report.faults] == []
        assert [each for each in report.warnings if "cannot run on this machine" in each.message] == []
        assert report.subscriptions.subscriptions


def test_the_example_of_a_whole_site_uses_every_verb_and_every_key():
    section = SUBSCRIPTIONS.read_text().partition("\n## A complete example\n")[2].partition("\n## ")[0]
    (example,) = [text for kind, text in BLOCK.findall(section) if kind == "yaml"]
    document = yaml.safe_load(example)
    # YAML 1.1, which is not how it is read by us, takes `on` for true.
    used = {"on" if key is True else key for entry in document["subscriptions"] for key in entry}

    assert used == {*Entry.model_fields, *installed()}
    assert document.keys() == File.model_fields.keys()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_line_of_a_page_can_be_called(page):
    text = page.read_text()
    lines = re.findall(r"^    (?:\. \S+ && )?clusterbus (.*)$", text, re.MULTILINE)
    inline = re.findall(r"`clusterbus ([^`]+)`", text)

    for line in lines:
        parse(words(line))
    for line in inline:
        for each in alternatives(line):
            parse(each, is_whole=False)


@pytest.mark.parametrize("line", ["jobs aprove 1", "route diskFailure --nod nsd01", "why", "breakers list more"])
def test_a_command_line_that_is_wrong_would_be_seen(line):
    with pytest.raises(AssertionError):
        parse(words(line))


@pytest.mark.parametrize("model", KEYS, ids=lambda model: model.__name__)
def test_every_key_of_a_subscriptions_file_is_in_a_table_of_its_page(model):
    listed = first_cells(SUBSCRIPTIONS.read_text())

    assert {f"{KEYS[model]}{key}" for key in model.model_fields} - listed == set()


@pytest.mark.parametrize("kind", sorted(page.parent.name for page in VERBS))
def test_every_field_of_a_verb_is_in_a_table_of_its_page(kind):
    listed = first_cells((ROOT / "consumers" / "verbs" / kind / "README.md").read_text())
    fields = {field.alias or name for name, field in installed()[kind].model_fields.items()}
    below = {"log": {f"syslog.{name}" for name in SyslogTarget.model_fields}, "notify": set(Contact.model_fields)}

    assert (fields | below.get(kind, set())) - listed == set()


def test_every_verb_that_ships_has_a_page_which_the_page_of_subscriptions_leads_to():
    ours = {kind for kind, verb in installed().items() if verb.__module__.startswith("consumers.verbs.")}
    linked = set(re.findall(r"\]\(verbs/(\w+)/README\.md\)", SUBSCRIPTIONS.read_text()))

    assert ours == linked == {page.parent.name for page in VERBS}


def test_every_word_of_failure_is_explained():
    listed = first_cells(SUBSCRIPTIONS.read_text())
    known = set(re.findall(r"[a-z]{4,}", retry._FAILURE.pattern))

    assert {"exit", "timeout", "lost"} <= known
    assert known - {each.partition(":")[0] for each in listed} == set()


def test_every_outcome_that_can_be_recorded_is_explained():
    listed = first_cells(SUBSCRIPTIONS.read_text())
    written = set(re.findall(r"(\w+),", options.OUTCOMES))
    skipped = skip_words()

    assert {"done", "open"} <= written
    assert {"silenced", "limited", "shadow", "guarded", "unanswered", FOLDED} <= skipped
    assert (written | skipped) - listed == set()


def test_the_table_of_gates_has_them_in_the_order_that_they_are_asked():
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("| gate | asked of |")[2].partition("\n\n")[0]
    told = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]

    asked = [gate_name(each) for each in gates_of(GATED, Aiming())]

    # The last is asked by the thread that calls the handler.
    assert told == [*dict.fromkeys(asked), "`only_when`, `only_if`"]


def test_modes_and_the_retry_steps_are_as_they_are():
    text = SUBSCRIPTIONS.read_text()

    assert f"`{' '.join(RETRY_STEPS)}`" in text
    assert all(f"`{mode}`" in text for mode in Mode.__args__)


@pytest.mark.parametrize("page", PAGES[1:], ids=relative)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def whole(text):
    """Return the file that *text* is, or that its entries are part of."""
    return text if text.startswith("version: 1") else f"version: 1\nsubscriptions:\n{text}"


def shown_settings(blocks, handlers):
    """Return the settings that a page shows, with the Python that it shows in the folder *handlers*."""
    for kind, text in blocks:
        named = re.match(r"# /etc/clusterbus/handlers/(\w+\.py)\n", text)
        if kind == "python" and named:
            (handlers / named[1]).write_text(text)
    actions = [text for kind, text in blocks if kind == "yaml" and text.startswith("# /etc/clusterbus/actions/")]
    for at, text in enumerate(actions):
        (handlers / f"actions-{at}.yaml").write_text(text)
    shown = next((yaml.safe_load(text) for kind, text in blocks if not kind and text.startswith("consumers:")), {})
    wanted = {"handlers": [str(handlers)], "actions": [str(handlers)] if actions else []}
    return Settings.model_validate({"consumers": {**shown.get("consumers", {}), **wanted}})


def words(line):
    """Return the words of a command line, without what is said about it and where its output goes."""
    return shlex.split(line.partition(" > ")[0], comments=True)


def alternatives(line):
    """Return each command that *line* stands for: `dead list | show`, `tail [PATTERN]`."""
    found = [words(re.sub(r"\[.*?\]", "", part)) for part in line.split(" | ")]
    group = found[0][:1]
    return [found[0], *(group + each for each in found[1:])]


def parse(line, *, is_whole=True):
    """Have the words of *line* read as the program would; one that is not *is_whole* may lack its arguments."""
    command, name = get_command(app), "clusterbus"
    rest = list(line)
    while rest and (below := getattr(command, "commands", None)) is not None:
        assert rest[0] in below, f"there is no command {rest[0]!r} in {name}: {' '.join(line)}"
        name, command = rest[0], below[rest.pop(0)]
    if getattr(command, "commands", None) is not None or (not rest and not is_whole):
        assert not is_whole, f"{' '.join(line)} is no command, but a group of some"
        return
    try:
        command.make_context(name, rest)
    except Exception as error:
        raise AssertionError(f"{' '.join(line)}: {error}") from error


def first_cells(text):
    """Return all that stands in backquotes in the first cells of the tables of a page."""
    cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


class Aiming(Handler):
    """A handler that has something to aim at, and so a breaker."""

    def targets(self, delivery):
        return (delivery.event.node,)


GATED = make_subscription(
    "gated",
    NotifyVerb(to="on-call"),
    delay=Delay(wait=timedelta(minutes=1)),
    fold=Folding(),
    once_per=OncePer(interval=timedelta(hours=1)),
    limit=Limit(most=1, per=timedelta(hours=1)),
    order_by=("node",),
    guard=Guard(at_most=1, first=1, stop_after=5, ask=Ask()),
)


def gate_name(gate):
    """Return what the page calls a gate."""
    if isinstance(gate, RateGate):
        return "`limit` that waits" if gate._rate.waits else "`once_per`, `limit` that skips"
    return {
        SuppressionGate: "suppression",
        DelayGate: "`delay`",
        SilenceGate: "silence",
        FoldGate: "fold",
        StopGate: "`stop_after`",
        OrderGate: "`order_by`",
        ApprovalGate: "`ask`",
        AtMostGate: "`at_most`",
        BlastRadiusGate: "`blast_radius`, `first`",
        OpenBreakerGate: "breaker",
    }[type(gate)]


def skip_words():
    """Return the words that deliveries are skipped by, wherever the consumers' code makes them."""
    found = {FOLDED}
    for file in (ROOT / "consumers").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            named = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Skipped", "Rate")
            )
            if named and node.args and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    return found
