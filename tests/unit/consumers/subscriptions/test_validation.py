"""Subscription files, checked as a whole."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.errors import SubscriptionsError
from consumers.subscriptions.validation import Report, check, load
from consumers.verbs.log.verb import LogVerb
from consumers.verbs.run.verb import RunVerb
from router.model.catalogue import Catalogues
from router.settings.models import Contact, Settings

KEYS = ["name", "on", "where", "log", "run", "retry", "mode", "command", "environment", "timeout", "first", "file", "z"]
SHIPPED = Catalogues.shipped()
ROOT = Path(__file__).parents[4]
VERBS = "action, alert, call, log, notify, post, run, scripts"

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

MISSING_HERE = (29, "both", "run.user", "there is no user 'no-such-user-here'")

EXPECTED = [
    (1, "", "version", "must be 1, not 2"),
    (3, "", "defaults.retry.frist", "unknown key; did you mean first?"),
    (5, "Audit Log", "name", "must be 1 to 63 characters of a-z, 0-9 and -"),
    (7, "Audit Log", "log.fil", "unknown key; did you mean file?"),
    (9, "quota-mail", "on.1", "did you mean softQuotaExceeded?"),
    (9, "quota-mail", "on.2", "did you mean quota"),
    (10, "quota-mail", "where", "invalid CEL at column 18"),
    (11, "quota-mail", "run.command", "has no program"),
    (12, "quota-mail", "name", "the name quota-mail is already used at {file}:8"),
    (14, "quota-mail", "where", "no variable data.blokUsage; did you mean blockUsage"),
    (16, "quota-mail", "run.command.2", "invalid template: unexpected end of template"),
    (16, "quota-mail", "run.command.3", "softQuotaExceeded cannot have data.diskName"),
    (16, "quota-mail", "run.command.4", 'must be a text: write it in quotes, "5"'),
    (17, "quota-mail", "run.timeout", "10 is not a duration: write a number and a unit"),
    (19, "quota-mail", "retry.attempts", "must be greater than or equal to 1, not 0"),
    (20, "quota-mail", "retry.first", "'five' is not a duration"),
    (21, "quota-mail", "retry.longest", "the broker's longest wait is 6h"),
    (22, "quota-mail", "mode", "must be 'live', 'shadow' or 'off', not 'shade'"),
    (23, "quota-mail", "concurrency", "must be a whole number, not 'many'"),
    (24, "entry 4", "name", "is missing"),
    (25, "entry 4", "mail", f"verbs: {VERBS}"),
    (29, "both", "run", "has the verbs log and run: write a subscription for each"),
    (29, "both", "run.command", "'bin/tool' is a relative path"),
    MISSING_HERE,
    (30, "both", "on", "appears twice, first on line 27"),
]

ONLY_MISSING_HERE = """\
version: 1
subscriptions:
  - {name: run, on: quota, run: {command: [/no/such/program], user: no-such-user-here}}
  - {name: nodes, on: quota, run: {command: [ls], nodes: "@nosuch"}}
  - {name: guard, on: quota, run: {command: [ls]}, guard: {only_if: [/no/such/program]}}
  - {name: call, on: quota, call: "no_such_module:warn"}
  - {name: scripts, on: quota, scripts: {folders: FOLDER/none, user: no-such-user-here}}
  - {name: notify, on: quota, notify: {to: team}}
  - {name: post, on: quota, post: {url: "https://hooks.example.com/", secret: "file:FOLDER/key"}}
  - {name: log, on: quota, log: {file: FOLDER/none/events.jsonl}}
"""


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


BOTH_KINDS = """\
version: 1
subscriptions:
  - name: Wrong Name
    on: quotaa
    colour: red
    notify: {to: nobody, title: "{{ data.blokUsage }}", format: html, timeout: 5}
    retry: {frist: 5s, then: nowhere}
  - name: on-nodes
    on: quota
    concurrency: many
    run: {command: [/bin/true, "{{ data.blokUsage }}"], nodes: "n[1-", fanout: 0}
  - name: too-short
    on: quota
    run: {command: [/bin/true], nodes: n1, fanout: 0, deadline: 1s, timeout: 10s}
  - name: in-python
    call: {function: no_such_module:no_such_function, isolate: 5, with: {a: 1}}
  - name: fine
    on: quota
    log: {}
    retry: {then: on-nodes}
"""
ALL_OF_BOTH_KINDS = [
    (3, "name", "must be 1 to 63 characters"),
    (4, "on", "no event type, category or pattern 'quotaa'"),
    (5, "colour", "unknown key"),
    (6, "notify.format", "unknown key"),
    (6, "notify.timeout", "5 is not a duration"),
    (6, "notify.to.1", "no contact 'nobody'"),
    (7, "retry.frist", "unknown key"),
    (7, "retry.then", "no subscription 'nowhere'"),
    (10, "concurrency", "must be a whole number"),
    (11, "run.command.2", "no variable data.blokUsage"),
    (11, "run.fanout", "must be greater than or equal to 1"),
    (11, "run.nodes", "'n[1-' is not a host name"),
    (14, "run", "deadline (1s) is shorter than timeout (10s)"),
    (14, "run.fanout", "must be greater than or equal to 1"),
    (15, "on", "is missing"),
    (16, "call.function", "no module no_such_module"),
    (16, "call.isolate", "must be true or false"),
]


def test_what_a_folder_holds_besides_is_warned_of(tmp_path: Path) -> None:
    for name in ("a.yml", "b.YAML", "c.json"):
        (tmp_path / name).write_text(f"version: 1\nsubscriptions:\n  - {{name: {name[0]}, on: quota, log: {{}}}}\n")

    report = check(tmp_path, SHIPPED)

    assert report.subscriptions is not None
    assert [each.name for each in report.subscriptions.subscriptions] == ["a", "b"]
    assert [str(each).partition(": only")[0] for each in report.warnings] == [f"{tmp_path}/c.json: is not read"]


@pytest.mark.parametrize("text", ["{{ data.fsName }}", "{% if 1 %}x{% endif %}"])
@pytest.mark.parametrize("field", ["with: {path: '%s'}", "with: {deep: [{a: '%s'}]}", "parms: ['%s']"])
def test_a_template_that_call_would_pass_as_it_is_written_is_refused(tmp_path: Path, field: str, text: str) -> None:
    entry = f"on: quota\ncall: {{function: consumers.verbs.call.examples:logger, {field.replace('%s', text)}}}"

    (mistake,) = one(tmp_path, entry).mistakes

    assert "would be passed as it is written, since call has no templates" in mistake.message


def test_the_command_of_a_guard_is_looked_at(tmp_path: Path) -> None:
    report = one(tmp_path, "on: quota\nrun: {command: [echo]}\nguard: {only_if: [nosuch]}")

    assert report.mistakes == ()
    (warning,) = report.warnings
    assert (warning.field, warning.line) == ("guard.only_if", 6)
    assert "there is no program 'nosuch' in the PATH of commands" in warning.message


def test_a_jobs_folder_that_others_may_read_is_found(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir(mode=0o755)
    (tmp_path / "jobs").chmod(0o755)
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nsubscriptions: [{name: a, on: quota, run: {command: [echo], detach: true}}]")
    settings = Settings.model_validate({"consumers": {"jobs": tmp_path / "jobs", "callbacks": tmp_path / "none"}})

    before = check(file, SHIPPED, settings)
    (tmp_path / "jobs").chmod(0o700)
    after = check(file, SHIPPED, settings)

    assert "has mode 0755" in before.faults[0].message
    assert before.subscriptions is not None
    assert after.faults == ()


def test_a_structural_mistake_hides_no_other(tmp_path: Path) -> None:
    report = checked(tmp_path, BOTH_KINDS)

    found = sorted((each.line, each.field, each.message) for each in (*report.mistakes, *report.faults))
    for (line, place, said), (*where, message) in zip(ALL_OF_BOTH_KINDS, found, strict=True):
        assert where == [line, place]
        assert said in message


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

    of_the_file = [each[:3] for each in EXPECTED if each != MISSING_HERE]
    assert sorted((each.line, each.entry, each.field) for each in refused.value.mistakes) == of_the_file
    assert str(refused.value).count("\n") == len(of_the_file) - 1


def test_loading_looks_at_nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("no key")
    file = tmp_path / "subscriptions.yaml"
    file.write_text(ONLY_MISSING_HERE.replace("FOLDER", str(tmp_path)))
    settings = Settings.model_validate(
        {"consumers": {"contacts": {"team": {"urls": f"file:{tmp_path}/gone"}}, "callbacks": tmp_path / "none"}}
    )

    report = check(file, SHIPPED, settings)
    for name in ("shutil.which", "pwd.getpwnam", "consumers.config.secrets.read", "importlib.import_module"):
        monkeypatch.setattr(name, _looked)
    found = load(file, SHIPPED, settings)

    assert {each.entry for each in (*report.mistakes, *report.faults, *report.warnings)} == {*found.by_name}
    assert len(found.by_name) == 8


def _looked(*_: object) -> None:
    raise AssertionError("looked at this machine")


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
    run: {command: [echo, "{{ data.fsName }}"], timeout: 1m30s, environment: {DISKS: "{{ data.diskName | join(',') }}"}}
    retry: {attempts: 5, never_for: [exit:64]}
    concurrency: 4
    mode: off
""",
    )

    assert report.mistakes == report.faults == report.warnings == ()
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

    assert str(mistake) == f"{tmp_path}/b.yaml:3: audit: name: the name audit is already used at {tmp_path}/a.yaml:3"


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
        ("on: quota", 3, f"it: has no verb: add one of {VERBS}"),
        ("on: quota\nrnu: {command: [x]}", 5, "it: rnu: unknown key; did you mean run?"),
        ("on: quota\nwhre: 'true'", 5, "it: whre: unknown key; did you mean where?"),
        ("on: quota\nguard: {at_mst: 2}", 5, "it: guard.at_mst: unknown key; did you mean at_most?"),
        ("on: quota\nguard: {at_most: {cuont: 2}}", 5, "guard.at_most.cuont: unknown key; did you mean count?"),
        ("on: quota\nfold: {strange: 2}", 5, "it: fold.strange: unknown key; known keys: by, wait, repeat"),
        ("on: quota\nlimit: {most: 1, per: 1s, rset: skip}", 5, "it: limit.rset: unknown key; did you mean rest?"),
        (
            "on: quota\nmail: {}",
            5,
            "it: mail: unknown key; verbs: action, alert, call, log, notify, post, run, scripts",
        ),
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
        (
            "on: quota\nlog: {}\nwhere: data.filesetName",
            6,
            "the filter is not true or false: data.filesetName is a text",
        ),
        (
            "on: quota\nlog: {}\nwhere: data.filesetName > 3",
            6,
            "data.filesetName > 3 compares a text with a whole number, which always fails",
        ),
        ("on: quota\nlog: {}\nwhere: data.diskName == 'x'", 6, "cannot have data.diskName"),
        ("on: quota\nlog: {}\nwhere: has(data.fsNmae)", 6, "no variable data.fsNmae; did you mean fsName?"),
        ("on: disk\nrun: {command: [x, '{{ data.diskName }}']}", 5, "it: run.command.2: for diskFailure: "),
        ("on: [disk, quota]\nrun: {command: [x, '{{ data.diskName | join }}']}", 5, "the event has no diskName"),
        (
            "on: disk\nrun: {command: [x], environment: {A: '{{ data.x }}'}}",
            5,
            "it: run.environment.A: no variable data.x",
        ),
        ("on: disk\nrun:\n  command:\n    - x\n    - {{ data.x }}", 8, "it: run.command.2: a key must be a word"),
    ],
)
def test_a_mistake_in_an_entry_is_told_with_its_line(tmp_path: Path, entry: str, line: int, said: str) -> None:
    report = one(tmp_path, entry)

    assert [each for each in report.mistakes if each.line == line and said in str(each)], report.mistakes
    assert report.subscriptions is None


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("just text", 1, "must be a mapping"),
        ("[]", 1, "must be a mapping"),
        ("subscriptions: []", 1, "version: is missing"),
        ("version: 1", 1, "subscriptions: is missing"),
        ("version: 1\nsubscriptions: {}", 2, "subscriptions: "),
        ("version: 1\nsubscriptions:\n- just text", 3, "entry 1: must be a mapping"),
        (
            "version: 1\nsubscriptons: []\nsubscriptions: []",
            2,
            "subscriptons: unknown key; did you mean subscriptions?",
        ),
        ("version: '1'\nsubscriptions: []", 1, "version: must be 1, not '1'"),
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
        ("on: quota\nlog: {file: /no/such/folder/events.jsonl}", "the folder /no/such/folder does not exist"),
        (
            "on: quota\nrun: {command: [/no/such/program]}",
            "/no/such/program does not exist on this machine",
        ),
    ],
)
def test_what_may_not_have_been_meant_is_a_warning(tmp_path: Path, entry: str, said: str) -> None:
    report = one(tmp_path, entry)

    assert said in str(report.warnings[0])
    assert report.subscriptions is not None


@pytest.mark.parametrize(
    "where",
    [
        "data.rgErr > 5",
        "has(data.rgErr) && data.rgErr > 5",
        "has(data.rgErr) && data.rgErr > 5 || has(data.rgCount) && data.rgCount > 5",
        '"rgErr" in data && data.rgErr > 5 && (!has(data.pdName) || data.pdName == null || data.pdName != "x")',
    ],
)
def test_a_variable_that_the_family_has_is_null_in_its_other_events_and_the_guard_allows_for_that(
    tmp_path: Path, where: str
) -> None:
    on = "on: [preRGTakeover, pdFailed]\nlog: {}\nwhere: >-\n  "
    guard = "has(data.rgErr) && data.rgErr != null && "

    [*warnings] = map(str, one(tmp_path, f"{on}{where}").warnings)

    assert [each for each in warnings if "data.rgErr" in each] == [warnings[0]]
    assert "pdFailed cannot have data.rgErr, so these events do not match" in warnings[0]
    assert warnings[0].endswith(f"; if that is intended, write {guard}...")
    assert not any("data.pdName" in each for each in warnings)
    guarded = where.replace("data.rgErr > 5", f"{guard}data.rgErr > 5")
    assert not any("data.rgErr" in str(each) for each in one(tmp_path, f"{on}{guarded}").warnings)


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

    assert report.mistakes == report.faults == report.warnings == ()


def test_a_file_that_anybody_may_write_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nsubscriptions: []\n")
    file.chmod(0o666)

    (mistake,) = check(file, SHIPPED).mistakes

    assert f"{file}: is not read: {file} is writable by other users" in str(mistake)


def test_the_example_that_is_shipped_is_good() -> None:
    report = check(ROOT / "docker" / "config" / "subscriptions.yaml", SHIPPED)

    assert report.mistakes == report.faults == ()
    # The programs that it names may not be on this machine.
    assert not [each for each in report.warnings if "does not exist on this machine" not in each.message]
    assert report.subscriptions is not None
    assert set(report.subscriptions.by_name) == {"audit", "quota-to-syslog", "restart-disk"}


EXAMPLE = (ROOT / "docker" / "config" / "subscriptions.yaml").read_text()
ODD = st.sampled_from(
    ["", "~", "[]", "{}", "-1", "'", "a: ", "- ", "{{ x }}", "&a *a", "\t", "\0", "on", "1e9", "[[[", "\u2028"]
)


@pytest.mark.thorough
@given(st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), ODD), min_size=1, max_size=4))
def test_a_mutilated_file_is_checked_like_any_other(cuts: list[tuple[int, int, str]]) -> None:
    text = EXAMPLE
    for at, length, odd in cuts:
        text = text[:at] + odd + text[at + length :]

    with tempfile.TemporaryDirectory() as folder:
        report = checked(Path(folder), text)

    assert (report.subscriptions is None) == bool(report.mistakes)
    assert all(0 <= each.line <= text.count("\n") + 5 and "\n" not in str(each) for each in report.mistakes)


@pytest.mark.thorough
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


@pytest.mark.parametrize(
    ("guard", "mistakes", "warnings"),
    [
        ("{at_most: 2}", 0, 0),
        ("{at_most: {count: 1, by: data.fsName, rest: skip}}", 0, 0),
        ("{at_most: {count: 1, by: [data.fsNam]}}", 1, 0),
        ("{at_most: {count: 1, by: data.diskName}}", 0, 1),
        ("{at_most: 0}", 1, 0),
        ("{at_most: {by: node}}", 1, 0),
        ("{at_most: {count: 1, rest: drop}}", 1, 0),
    ],
)
def test_at_most_is_a_number_or_a_count_by_place_and_says_what_becomes_of_the_rest(tmp_path, guard, mistakes, warnings):
    file = tmp_path / "subscriptions.yaml"
    entry = "{name: act, on: [diskFailure, softQuotaExceeded], run: {command: [/bin/true]}, guard: GUARD}".replace(
        "GUARD", guard
    )
    file.write_text(f"version: 1\nsubscriptions:\n  - {entry}\n")

    report = check(file, Catalogues.shipped())

    assert [len(report.mistakes), len(report.warnings)] == [mistakes, warnings], report


NODES = "nodes: \"{{ data.eventNode | join(',') }}\""


@pytest.mark.parametrize(
    ("guard", "run", "said"),
    [
        ("{at_most: [2, {count: 1, per: node}], blast_radius: {nodes: 2, within: 1h}, first: 1}", NODES, ""),
        ("{blast_radius: {percent: 10, of: storage, within: 1h}, acts_on: nsd01}", "", ""),
        ("{at_most: {count: 1, per: 'data.eventNode[0] + node'}}", "", ""),
        (
            "{at_most: [2, {count: 1, per: nod}]}",
            NODES,
            "guard.at_most.2.per: 'nod' is nothing that is counted; did you",
        ),
        ("{at_most: {count: 1, per: data.fsName}}", NODES, "guard.at_most.per: nodeLeave cannot have data.fsName"),
        ("{at_most: {count: 1, per: class}}", NODES, "guard.at_most: per: class is for subscriptions with an action"),
        (
            "{at_most: {count: 1, per: node}}",
            "",
            "guard.at_most: is about nodes, and run runs on none: set run.nodes, or",
        ),
        ("{blast_radius: {nodes: 1, within: 1h}}", "", "guard.blast_radius: is about nodes, and run runs on none"),
        ("{first: 1, acts_on: nsd01}", "", "guard.first: is about nodes, and run runs on none: set run.nodes"),
        ("{blast_radius: {nodes: 1, of: x, within: 1h}}", NODES, "of is a node class that percent is of"),
        ("{blast_radius: {within: 1h}}", NODES, "guard.blast_radius: needs either nodes or percent"),
        ('{blast_radius: {nodes: 1, within: 1h}, acts_on: "@all,{{ node }}"}', "", "guard.acts_on: "),
        (
            '{blast_radius: {nodes: 1, within: 1h}, acts_on: "{{ data.fsName }}"}',
            "",
            "guard.acts_on: nodeLeave cannot have",
        ),
    ],
)
def test_limits_of_nodes_are_checked(tmp_path: Path, guard: str, run: str, said: str) -> None:
    report = one(tmp_path, f"on: nodeLeave\nrun: {{command: [/bin/true], {run}}}\nguard: {guard}")

    assert [said in str(each) for each in report.mistakes] == [True] * bool(said), report.mistakes


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('on: diskFailure\nlog: {}\nwhere: data.diskName == "nsd3"', 'where: data.diskName == "nsd3" is never true'),
        ('on: "gpfs.prod.#"\nlog: {}\nwhere: cluster == "test"', 'where: cluster == "test" is never true'),
        ('on: "gpfs.prod.*.*.*.nsd01"\nlog: {}\nwhere: node != "nsd02"', 'node != "nsd02" is true for every event'),
        (
            'on: [diskFailure, "#"]\nlog: {}\nwhere: severity in ["error", "fatal"]',
            'severity == "fatal" is never true: severity is one of info, notice, warning, error, critical',
        ),
        (
            "on: nodeLeave\nrun: {command: [/bin/true]}\nguard:\n  only_when: facts.names[data.eventNode] == node",
            "looks up a list, where a name is needed, which always fails; write facts.names[data.eventNode[0]]",
        ),
        ('on: quota\nlog: {}\nwhere: severity >= "warn"', "no severity; did you mean warning?"),
        (
            "on: diskFailure\nrun: {command: [\"{{ 'a' if type == 'diskFailure' else 'b' }}\"]}",
            'type is always gpfs.diskFailure; write type == "gpfs.diskFailure"',
        ),
        (
            "on: quota\nrun: {command: [/bin/true]}\nguard: {only_if: {command: [\"{{ data.quotaID == '1001' }}\"]}}",
            "data.quotaID is a whole number, such as 1001; write data.quotaID == 1001",
        ),
        ('on: quota\nlog: {}\nwhere: timestamp(time).getHours("Mars") > 1', "there is no time zone 'Mars'"),
    ],
)
def test_a_condition_that_is_the_same_for_every_event_is_a_mistake(tmp_path, entry, said):
    found = one(tmp_path, entry)

    assert any(said in str(each) for each in found.mistakes), found.mistakes


@pytest.mark.parametrize(
    "entry",
    [
        'on: disk\nlog: {}\nwhere: cluster == "prod" || node == "nsd01"',
        'on: "#"\nlog: {}\nwhere: severity >= "error" && type != "gpfs.quorumLoss"',
        'on: [diskFailure, mount]\nlog: {}\nwhere: type == "gpfs.mount" || "nsd3" in data.diskName',
        "on: nodeLeave\nrun: {command: [/bin/ls]}\nguard:\n  only_when: facts.names[data.eventNode[0]] == node",
    ],
)
def test_a_condition_that_can_be_true_and_false_is_no_mistake(tmp_path, entry):
    assert one(tmp_path, entry).mistakes == ()


@pytest.mark.parametrize(
    ("verb", "failure"),
    [
        ("run: {command: [/bin/true]}", "http:503"),
        ("run: {command: [/bin/true]}", "unreachable"),
        ("run: {command: [/bin/true], nodes: n1}", "signal:9"),
        ("run: {command: [/bin/true]}", "lost"),
        ("scripts: {folders: /tmp}", "connect"),
        ("post: {url: 'https://h/x', body: event}", "exit:64"),
        ("log: {}", "timeout"),
    ],
)
@pytest.mark.parametrize("name", ["never_for", "only_for"])
def test_a_failure_that_the_verb_never_has_is_refused(tmp_path: Path, verb: str, failure: str, name: str) -> None:
    report = one(tmp_path, f"on: quota\n{verb}\nretry: {{{name}: [OSError, '{failure}']}}")

    (found,) = [each for each in report.mistakes if each.field.startswith("retry")]
    assert (found.line, found.field) == (6, f"retry.{name}.2")
    assert f"this {verb.partition(':')[0]} never fails with {failure}: it fails with" in found.message


DEFAULTS = """\
version: 1
defaults: {retry: {never_for: [OSError, exit:64, http:404], only_for: [timeout]}}
subscriptions:
  - {name: command, on: quota, run: {command: [/bin/true]}, retry: RETRY}
  - {name: hook, on: quota, post: {url: "https://hooks.example.com/"}}
"""


def test_a_failure_in_the_defaults_is_one_of_a_verb_that_has_them(tmp_path: Path) -> None:
    both = checked(tmp_path, DEFAULTS.replace("RETRY", "{attempts: 3}"))
    own = checked(tmp_path, DEFAULTS.replace("RETRY", "{never_for: [exit:64]}"))
    broken = checked(tmp_path, DEFAULTS.replace("RETRY", "{}").replace("/bin/true", "bin/true"))

    assert both.mistakes == both.warnings == ()
    (mistake,) = own.mistakes
    assert (mistake.line, mistake.field) == (2, "defaults.retry.never_for.2")
    assert mistake.message.startswith("none of the subscriptions that this applies to ever fails with exit:64")
    assert [each.field for each in broken.mistakes] == ["run.command"]


def test_a_subscription_that_the_defaults_never_retry_is_warned_of(tmp_path: Path) -> None:
    text = DEFAULTS.replace("RETRY", "{}").replace("timeout", "exit")

    found = checked(tmp_path, text)
    with_exceptions = checked(tmp_path, text.replace("[exit]", "[exit, OSError]"))

    (warning,) = found.warnings
    assert (warning.line, warning.field) == (2, "defaults.retry.only_for")
    assert warning.message.startswith("hook fails with none of these, so it is never retried")
    assert found.mistakes == with_exceptions.mistakes == with_exceptions.warnings == ()


@pytest.mark.parametrize(
    ("verb", "failures"),
    [
        ("run: {command: [/bin/true]}", "exit, 'exit:64', 'signal:9', timeout, OSError"),
        ("run: {command: [/bin/true], nodes: n1}", "exit, timeout, unreachable, nodes, lost, GroupsUnknown"),
        ("run: {command: [/bin/true], detach: true}", "exit, signal, lost"),
        ("post: {url: 'https://h/x', body: event}", "connect, timeout, http, 'http:503'"),
        ("call: {function: 'consumers.verbs.call.examples:logger'}", "exit, http, ValueError"),
    ],
)
def test_the_failures_that_a_verb_has_are_accepted(tmp_path: Path, verb: str, failures: str) -> None:
    assert not one(tmp_path, f"on: quota\n{verb}\nretry: {{only_for: [{failures}]}}").mistakes


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("%eventNode", "%eventNode is passed as it is written: write {{ data.eventNode | join(',') }}"),
        ("fs=%fsname", "%fsname is passed as it is written: write {{ data.fsName }}"),
        ("$CLUSTERBUS_VAR_fsName", "no shell reads this: the program gets '$CLUSTERBUS_VAR_fsName' as it is written"),
        ("in ${CLUSTERBUS_VAR_fsName}", "write {{ data.fsName }}"),
        *((word, f"no shell reads this: the program gets '{word}'") for word in (">>", "|", "&&", "2>&1", "$HOME")),
        ("2>/dev/null", "no shell reads this"),
        ("at $(date)", "no shell reads this"),
    ],
)
@pytest.mark.parametrize("where", ["run", "guard"])
def test_what_only_callbacks_and_shells_replace_is_warned_of(tmp_path: Path, where: str, word: str, said: str) -> None:
    command, place = f'[/bin/echo, "{word}"]', {"run": "run.command.2", "guard": "guard.only_if.2"}[where]
    run = command if where == "run" else "[/bin/true]"
    guard = command if where == "guard" else "[/bin/true]"

    report = one(tmp_path, f"on: diskFailure\nrun: {{command: {run}}}\nguard: {{only_if: {guard}}}")

    assert report.subscriptions is not None
    (warning,) = [each for each in report.warnings if each.field.startswith(place)]
    assert (warning.field, said in warning.message) == (place, True), warning


@pytest.mark.parametrize(
    "command",
    [
        "[/bin/sh, -c, 'echo $HOME >> /tmp/x; ls | wc']",
        "[ssh, n1, ls, '|', wc]",
        "[find, /tmp, -exec, ls, '{}', ';']",
        "[date, +%Y-%m-%d, 'a > b', '100%', '<b>']",
        "[awk, '{print $1}', '/var/log/x']",
    ],
)
def test_words_for_a_shell_or_the_program_itself_are_accepted(tmp_path: Path, command: str) -> None:
    report = one(tmp_path, f"on: diskFailure\nrun: {{command: {command}}}")

    assert not [each for each in report.warnings if each.field.startswith("run.command.")]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("on: quota\nrun: {command: '/bin/echo {{ node }} x'}", "run.command: must be a list: write [/bin/echo, "),
        (
            "on: quota\nrun: {command: [/bin/true]}\nguard: {only_if: /bin/x -v}",
            'only_if: must be a list: write [/bin/x, "-v"]',
        ),
        ("on: quota\nrun: {command: [/bin/true]}\nretry: {never_for: exit:64}", 'must be a list: write ["exit:64"]'),
        ("on:\nlog: {}", "on: is empty"),
        ("on: []\nlog: {}", "on: is empty"),
        ("on: {a: b}\nlog: {}", "on: must be a list, not a mapping"),
        ("on: quota\nlog: {}\nretry: []", "retry: must be a mapping, not a list"),
        ("on: quota\nlog: {store: 1}", "log.store: must be true or false, not 1"),
        ("on: quota\nlog: {}\nwhere: [a]", "where: must be a text, not a list"),
        ("on: quota\nlog: {}\nconcurrency: 1.5", "concurrency: must be a whole number, not 1.5"),
    ],
)
def test_a_value_of_another_type_is_told_in_plain_words(tmp_path: Path, entry: str, said: str) -> None:
    (mistake,) = one(tmp_path, entry).mistakes

    assert said in str(mistake)


def test_each_mistake_of_the_registrations_is_a_fault_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nsubscriptions: []\n")
    settings = Settings.model_validate({"gpfs": {"parameters": {"quota": ["foo", "bar"]}, "events": ["quota"]}})

    faults = check(file, SHIPPED, settings).faults

    assert [each.message.partition("is invalid: ")[2][:45] for each in faults] == [
        f"gpfs.parameters: quota: unknown variable '{name}'"[:45] for name in ("foo", "bar")
    ]
    assert not any("\n" in str(each) or "\\n" in str(each) for each in faults)


def handing_over(tmp_path: Path, second: str, first: str = "on: unmount, retry: {then: second}") -> Report:
    file = tmp_path / "subscriptions.yaml"
    entries = f"  - {{name: first, run: {{command: [/bin/true]}}, {first}}}\n  - {{name: second, {second}}}\n"
    file.write_text(f"version: 1\nsubscriptions:\n{entries}")
    return check(file, SHIPPED, here=False)


def test_a_template_is_checked_for_events_that_are_handed_over_too(tmp_path: Path) -> None:
    run = 'run: {command: [/bin/echo, "{{ data.diskName[0] }}"]}'

    (mistake,) = handing_over(tmp_path, f"on: diskFailure, {run}").mistakes

    assert (mistake.entry, mistake.field) == ("second", "run.command.2")
    assert mistake.message.startswith("for unmount, handed over by first: ")
    by_type = "{% if category == 'disk' %}{{ data.diskName[0] }}{% endif %}"
    assert handing_over(tmp_path, f"on: diskFailure, {run.replace('{{ data.diskName[0] }}', by_type)}").mistakes == ()


def test_a_guard_that_lets_nothing_pass_of_what_is_handed_over_is_warned_of(tmp_path: Path) -> None:
    guard = "guard: {only_when: 'category == \"disk\"'}"
    run = 'run: {command: [/bin/echo, "{{ data.diskName[0] }}"]}'

    report = handing_over(tmp_path, f"on: diskFailure, {guard}, {run}")

    assert report.mistakes == ()
    message = "is never true for the events that first hands over by `retry.then`"
    assert message in [each.message for each in report.warnings if each.field == "guard.only_when"]


def test_the_options_of_a_verb_are_checked_for_events_that_are_handed_over_too(tmp_path: Path) -> None:
    report = handing_over(
        tmp_path, "on: diskFailure, run: {command: [/bin/true]}", "on: runFailed, retry: {then: second}"
    )

    warned = [each.message for each in report.warnings if each.entry == "second"]
    assert "with the events that first hands over: also selects clusterbus.runFailed" in "".join(warned)


def test_nothing_is_handed_over_to_what_is_off(tmp_path: Path) -> None:
    (mistake,) = handing_over(tmp_path, "on: diskFailure, mode: off, log: {}").mistakes

    assert (mistake.entry, mistake.field) == ("first", "retry.then")
    assert mistake.message == "second has `mode: off`, so it handles nothing: name another"


def test_an_event_without_its_key_is_shown_as_it_must_be_written(tmp_path: Path) -> None:
    report = one(tmp_path, "on: diskFailure\nlog: {}\ntests: [{given: diskFailure, expect: logs}]")

    assert [each.message for each in report.mistakes] == ["must be a mapping: write {event: diskFailure}"]


@pytest.mark.parametrize(
    ("address", "is_valid"),
    [
        ("mailto://u:p@mail.example", False),
        ("mailto://u@mail.example", False),
        ("MAILTO://mail.example?from=a@b.org&PASS=x", False),
        ("mailto://mail.example?from=a@b.org", True),
        ("mailto://mail.example/to@b.org", True),
        ("syslog://", True),
        ("file:/etc/x", True),
    ],
)
def test_addresses_of_contacts_are_refused_by_the_schema_as_by_the_check(address: str, is_valid: bool) -> None:
    one_of = Contact.model_json_schema()["properties"]["urls"]["anyOf"]
    pattern = next(each["pattern"] for each in one_of if each["type"] == "string")

    assert bool(re.search(pattern, address)) is is_valid
    try:
        Contact(urls=(address,))
    except ValidationError:
        assert not is_valid
    else:
        assert is_valid


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("{blast_radius: {nodes: 2, within: 1h}, at_most: {count: 1, per: node}}", ""),
        ("{first: 1}", "guard.first: cannot be used with steps, which act on all their nodes"),
    ],
)
def test_the_nodes_of_steps_can_be_limited_and_not_divided(tmp_path: Path, guard: str, said: str) -> None:
    steps = "[{name: work, command: [/bin/true], nodes: nsd01}, {name: after, command: [/bin/true]}]"
    report = one(tmp_path, f"on: nodeLeave\nrun: {{steps: {steps}}}\nguard: {guard}")

    assert [said in str(each) for each in report.mistakes] == [True] * bool(said), report.mistakes
