"""Subscription files, checked as a whole."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.check import Report, check, load
from consumers.errors import SubscriptionsError
from consumers.verbs.log import LogVerb
from consumers.verbs.run import RunVerb
from router.catalogue import Catalogues

# Machines that are busy with other tests are slow at times.
PATIENT = settings(deadline=None)

KEYS = ["name", "on", "where", "log", "run", "retry", "mode", "command", "environment", "timeout", "first", "file", "z"]
SHIPPED = Catalogues.shipped()
ROOT = Path(__file__).parents[3]

TWENTY_MISTAKES = """\
version: 2
defaults:
  retry: {frist: 5s}
subscriptions:
  - name: Audit Log
    on: "#"
    log: {fil: /var/log/events.jsonl}
  - name: quota-mail
    on: [softQuotaExceded, gpfs.*.qouta.#]
    where: data.blockUsage >
    run: {command: []}
  - name: quota-mail
    on: softQuotaExceeded
    where: data.blokUsage > 5
    run:
      command: [/bin/tool, "{{ data.fsName", "{{ data.diskName }}", 5]
      timeout: 10
    retry:
      attempts: 0
      first: five
      longest: 2d
    mode: shade
    concurrency: many
  - on: quota
    mail: {to: [storage-team]}
  - name: both
    on: disk
    log: {}
    run: {command: [bin/tool], user: no-such-user-here}
    on: quota
"""

EXPECTED = [
    (1, "", "version", "has to be 1, not 2"),
    (3, "", "defaults.retry.frist", "unknown key; did you mean first?"),
    (5, "Audit Log", "name", "has to be 1 to 63 of a-z, 0-9 and -"),
    (7, "Audit Log", "log.fil", "unknown key; did you mean file?"),
    (9, "quota-mail", "on.1", "did you mean softQuotaExceeded?"),
    (9, "quota-mail", "on.2", "did you mean quota"),
    (10, "quota-mail", "where", "no CEL at column 18"),
    (11, "quota-mail", "run.command", "has no program"),
    (12, "quota-mail", "name", "the name quota-mail is taken by {file}:8"),
    (14, "quota-mail", "where", "no variable data.blokUsage; did you mean blockUsage"),
    (16, "quota-mail", "run.command.2", "no template: unexpected end of template"),
    (16, "quota-mail", "run.command.3", "softQuotaExceeded cannot have data.diskName"),
    (16, "quota-mail", "run.command.4", 'has to be a text: write it in quotes, "5"'),
    (17, "quota-mail", "run.timeout", "10 is no duration: write a number and a unit"),
    (19, "quota-mail", "retry.attempts", "has to be greater than or equal to 1, not 0"),
    (20, "quota-mail", "retry.first", "'five' is no duration"),
    (21, "quota-mail", "retry.longest", "the broker's longest wait is 6h"),
    (22, "quota-mail", "mode", "has to be 'live', 'shadow' or 'off', not 'shade'"),
    (23, "quota-mail", "concurrency", "has to be a valid integer, not 'many'"),
    (24, "entry 4", "name", "is missing"),
    (25, "entry 4", "mail", "the verbs are call, log, notify, post, run, scripts"),
    (29, "both", "run", "has the verbs log and run: one each"),
    (29, "both", "run.command", "'bin/tool' is a relative path"),
    (29, "both", "run.user", "there is no user 'no-such-user-here'"),
    (30, "both", "on", "is here twice, first in line 27"),
]


def checked(folder: Path, text: str, name: str = "subscriptions.yaml") -> Report:
    file = folder / name
    file.write_text(text)
    return check(file, SHIPPED)


def one(folder: Path, entry: str) -> Report:
    """Check a file of one entry, whose name is `it`."""
    lines = "\n".join(f"    {line}" for line in entry.splitlines())
    return checked(folder, f"version: 1\nsubscriptions:\n  - name: it\n{lines}\n")


def test_every_planted_mistake_is_told_with_its_line_in_one_run(tmp_path: Path) -> None:
    report = checked(tmp_path, TWENTY_MISTAKES)

    found = sorted((each.line, each.entry, each.field, each.message) for each in report.mistakes)
    assert [each[:3] for each in found] == [each[:3] for each in EXPECTED]
    for (*place, message), (*_, said) in zip(found, EXPECTED, strict=True):
        assert said.format(file=tmp_path / "subscriptions.yaml") in message, place
    assert len(found) >= 20
    assert report.subscriptions is None


def test_mistakes_are_told_in_the_order_of_the_lines(tmp_path: Path) -> None:
    report = checked(tmp_path, TWENTY_MISTAKES)

    lines = [each.line for each in report.mistakes]
    assert lines == sorted(lines)


def test_a_mistake_prints_as_one_line_with_file_line_entry_and_field(tmp_path: Path) -> None:
    (mistake,) = one(tmp_path, "on: quota\nlog: {}\nretry: {frist: 5s}").mistakes

    assert str(mistake) == f"{tmp_path}/subscriptions.yaml:6: it: retry.frist: unknown key; did you mean first?"


def test_loading_raises_all_mistakes_at_once(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.yaml"
    file.write_text(TWENTY_MISTAKES)

    with pytest.raises(SubscriptionsError) as refused:
        load(file, SHIPPED)

    assert len(refused.value.mistakes) == len(EXPECTED)
    assert str(refused.value).count("\n") == len(EXPECTED) - 1


def test_a_subscription_has_what_its_entry_says(tmp_path: Path) -> None:
    report = checked(
        tmp_path,
        """\
version: 1
defaults: {retry: {attempts: 3, growth: 2}}
subscriptions:
  - name: events
    on: [quota, softQuotaExceeded, disk]
    log: {file: /tmp/events.jsonl, store: false}
  - name: restart
    on: diskFailure
    where: data.fsName == "gpfs1"
    run: {command: [tool, "{{ data.fsName }}"], timeout: 1m30s, environment: {DISKS: "{{ data.diskName | join(',') }}"}}
    retry: {attempts: 5, never_for: [exit:64]}
    concurrency: 4
    mode: off
""",
    )

    assert report.mistakes == report.warnings == ()
    assert report.subscriptions is not None
    events, restart = report.subscriptions.subscriptions
    assert events.patterns == ("gpfs.*.quota.*.*.*", "gpfs.*.disk.*.*.*")
    assert events.on == ("quota", "softQuotaExceeded", "disk")
    assert events.verb == LogVerb(file=Path("/tmp/events.jsonl"), store=False)
    assert (events.line, events.file) == (4, str(tmp_path / "subscriptions.yaml"))
    assert isinstance(restart.verb, RunVerb)
    assert restart.verb.timeout.total_seconds() == 90
    assert (restart.retry.attempts, restart.retry.growth, restart.retry.never_for) == (5, 2, ("exit:64",))
    assert events.retry.attempts == 3
    assert (restart.concurrency, restart.mode, restart.where) == (4, "off", 'data.fsName == "gpfs1"')


def test_defaults_hold_for_their_own_file_only(tmp_path: Path) -> None:
    entry = "subscriptions: [{name: NAME, on: quota, log: }]\n"
    (tmp_path / "a.yaml").write_text("version: 1\ndefaults: {retry: {attempts: 2}}\n" + entry.replace("NAME", "a"))
    (tmp_path / "b.yaml").write_text("version: 1\n" + entry.replace("NAME", "b"))

    found = load(tmp_path, SHIPPED).by_name

    assert (found["a"].retry.attempts, found["b"].retry.attempts) == (2, 8)


def test_a_name_is_taken_over_all_files_and_both_places_are_named(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("version: 1\nsubscriptions:\n- name: audit\n  on: '#'\n  log: {}\n")

    (mistake,) = check(tmp_path, SHIPPED).mistakes

    assert str(mistake) == f"{tmp_path}/b.yaml:3: audit: name: the name audit is taken by {tmp_path}/a.yaml:3"


def test_a_mistake_in_one_file_keeps_out_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nsubscriptions: [{name: a, on: quota, log: {}}]\n")
    (tmp_path / "b.yaml").write_text("")

    report = check(tmp_path, SHIPPED)

    assert report.subscriptions is None
    assert [str(each) for each in report.mistakes] == [
        f"{tmp_path}/b.yaml:1: is empty: it needs `version: 1` and `subscriptions:`"
    ]


@pytest.mark.parametrize(
    ("entry", "line", "said"),
    [
        ("on: quota", 3, "it: has no verb: one of call, log, notify, post, run, scripts"),
        ("on: quota\nrnu: {command: [x]}", 5, "it: rnu: unknown key; did you mean run?"),
        ("on: quota\nwhre: 'true'", 5, "it: whre: unknown key; did you mean where?"),
        ("on: quota\nmail: {}", 5, "it: mail: unknown key; the verbs are call, log, notify, post, run, scripts"),
        ("log: {}", 3, "it: on: is missing"),
        ("on: []\nlog: {}", 4, "it: on: is empty"),
        ("on: 5\nlog: {}", 4, "it: on: "),
        ("on: [quota, [disk]]\nlog: {}", 4, "it: on.2: "),
        ("on: quota\nlog: everything", 5, "it: log: "),
        ("on: quota\nrun:", 5, "it: run.command: is missing"),
        ("on: quota\nlog: {}\nretry: never", 6, "it: retry: "),
        (
            "on: quota\nlog: {}\nretry:\n  first: 5m\n  longest: 1m",
            6,
            "it: retry: longest (1m) is shorter than first (5m)",
        ),
        ("on: quota\nlog: {}\nwhere: data.filesetName", 6, "the result is a string, not true or false"),
        ("on: quota\nlog: {}\nwhere: data.filesetName > 3", 6, "No such overload (data.filesetName is a string)"),
        ("on: quota\nlog: {}\nwhere: data.diskName == 'x'", 6, "cannot have data.diskName"),
        ("on: quota\nlog: {}\nwhere: has(data.fsNmae)", 6, "no variable data.fsNmae; did you mean fsName?"),
        ("on: disk\nrun: {command: [x, '{{ data.diskName }}']}", 5, "it: run.command.2: for diskFailure: "),
        ("on: [disk, quota]\nrun: {command: [x, '{{ data.diskName | join }}']}", 5, "the event has no diskName"),
        (
            "on: disk\nrun: {command: [x], environment: {A: '{{ data.x }}'}}",
            5,
            "it: run.environment.A: no variable data.x",
        ),
        ("on: disk\nrun:\n  command:\n    - x\n    - {{ data.x }}", 8, "it: run.command.2: a key is no word"),
    ],
)
def test_a_mistake_in_an_entry_is_told_with_its_line(tmp_path: Path, entry: str, line: int, said: str) -> None:
    report = one(tmp_path, entry)

    assert [each for each in report.mistakes if each.line == line and said in str(each)], report.mistakes
    assert report.subscriptions is None


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("just text", 1, "has to be a mapping"),
        ("[]", 1, "has to be a mapping"),
        ("subscriptions: []", 1, "version: is missing"),
        ("version: 1", 1, "subscriptions: is missing"),
        ("version: 1\nsubscriptions: {}", 2, "subscriptions: "),
        ("version: 1\nsubscriptions:\n- just text", 3, "entry 1: has to be a mapping"),
        (
            "version: 1\nsubscriptons: []\nsubscriptions: []",
            2,
            "subscriptons: unknown key; did you mean subscriptions?",
        ),
        ("version: '1'\nsubscriptions: []", 1, "version: has to be 1, not '1'"),
        (
            "version: 1\ndefaults: {retries: 5}\nsubscriptions: []",
            2,
            "defaults.retries: unknown key; did you mean retry?",
        ),
        ("version: 1\nsubscriptions:\n\t- name: x", 3, "a tab"),
        ("a: &a [*a]", 1, "an alias that repeats itself"),
    ],
)
def test_a_mistake_around_the_entries_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    report = checked(tmp_path, text)

    assert [each for each in report.mistakes if each.line == line and said in str(each)], report.mistakes


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("on: [quota, disk]\nlog: {}\nwhere: data.blockUsage > 5", "diskFailure cannot have data.blockUsage"),
        ("on: mount\nlog: {}", "the category is written gpfs.*.mount.*.*.*"),
        ("on: quota\nlog: {file: /no/such/folder/events.jsonl}", "the folder /no/such/folder is not there"),
        ("on: quota\nrun: {command: [/no/such/program]}", "no program /no/such/program can be run"),
    ],
)
def test_what_may_not_have_been_meant_is_a_warning(tmp_path: Path, entry: str, said: str) -> None:
    report = one(tmp_path, entry)

    assert said in str(report.warnings[0])
    assert report.subscriptions is not None


@pytest.mark.parametrize(
    "where",
    [
        "has(data.blockUsage) && data.blockUsage > 5",
        "'blockUsage' in data && data.blockUsage > 5",
        'category == "quota" && has(data.blockUsage) && data.blockUsage > 5',
        'type == "gpfs.softQuotaExceeded" && data.blockUsage > 5',
    ],
)
def test_a_comparison_that_is_guarded_gets_no_warning(tmp_path: Path, where: str) -> None:
    report = one(tmp_path, f"on: [quota, disk]\nlog: {{}}\nwhere: >-\n  {where}")

    assert report.warnings == report.mistakes == ()


def test_a_file_that_anybody_may_write_gets_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nsubscriptions: []\n")
    file.chmod(0o666)

    (warning,) = check(file, SHIPPED).warnings

    assert "anybody may write to it" in str(warning)


def test_the_example_that_is_shipped_is_good() -> None:
    report = check(ROOT / "docker" / "config" / "subscriptions.yaml", SHIPPED)

    assert report.mistakes == ()
    # The programs that it names may not be on this machine.
    assert not [each for each in report.warnings if "no program" not in each.message]
    assert report.subscriptions is not None
    assert set(report.subscriptions.by_name) == {"audit", "quota-to-syslog", "restart-disk"}


EXAMPLE = (ROOT / "docker" / "config" / "subscriptions.yaml").read_text()
ODD = st.sampled_from(
    ["", "~", "[]", "{}", "-1", "'", "a: ", "- ", "{{ x }}", "&a *a", "\t", "\0", "on", "1e9", "[[[", "\u2028"]
)


@PATIENT
@given(st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), ODD), min_size=1, max_size=4))
def test_a_mutilated_file_is_checked_like_any_other(cuts: list[tuple[int, int, str]]) -> None:
    text = EXAMPLE
    for at, length, odd in cuts:
        text = text[:at] + odd + text[at + length :]

    with tempfile.TemporaryDirectory() as folder:
        report = checked(Path(folder), text)

    assert (report.subscriptions is None) == bool(report.mistakes)
    assert all(0 <= each.line <= text.count("\n") + 5 and "\n" not in str(each) for each in report.mistakes)


@PATIENT
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["x", "5s", "#", "mount", "{{ y }}"])),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
        max_leaves=12,
    )
)
def test_values_in_the_wrong_places_are_mistakes_and_never_a_crash(entry: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = checked(
            Path(folder), json.dumps({"version": 1, "defaults": entry, "subscriptions": [entry, {"name": entry}]})
        )

    assert report.mistakes
