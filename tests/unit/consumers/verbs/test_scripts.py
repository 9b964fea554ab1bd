"""What a `handlers.conf` says, and what is said of it before an event comes."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.programs.consume import load
from consumers.subscriptions.validation import check
from consumers.verbs.scripts import trust
from consumers.verbs.scripts.conf_file import Line, Wrong, parse
from consumers.verbs.scripts.folders import Folders
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from tests.consuming import make_event

SHIPPED = Catalogues.shipped()
QUOTA = make_event().topic
DISK = "gpfs.prod.disk.diskFailure.gpfs1.nsd01"


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path, "scripts", "notify.py = softQuotaExceeded\n", "notify.py")


def make(parent, name, conf, *files):
    folder = parent / name
    folder.mkdir(mode=0o755)
    (folder / "handlers.conf").write_text(conf)
    for each in files:
        (folder / each).write_text("#!/bin/sh\n")
        (folder / each).chmod(0o755)
    return folder


def test_a_conf_is_one_program_a_line():
    lines, wrong = parse(
        b"# what we do\n\nnotify.py = quota disk   # both\r\n  check.pl=gpfs.*.disk.#\n"
        b'all = "#"\nmy file.sh = quota quota\n#x = y\n'
    )

    assert wrong == []
    assert lines == [
        Line(3, "notify.py", ("quota", "disk")),
        Line(4, "check.pl", ("gpfs.*.disk.#",)),
        Line(5, "all", ("#",)),
        Line(6, "my file.sh", ("quota",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"notify.py quota", "'notify.py quota' is not `file = pattern`"),
        (b"= quota", "no file name before the ="),
        (b"a.py =", "a.py has no pattern"),
        (b"a.py = #", 'a.py has no pattern: # begins a comment; write "#" in quotes for all events'),
        (b'a.py = "#', "wrong quotes in '\"#': put the whole pattern in quotes"),
        (b'a.py = "#"x', "wrong quotes in '\"#\"x': put the whole pattern in quotes"),
        (b"../a.py = quota", "'../a.py' is outside the folder: write the name of a file in it, without a path"),
        (b"/bin/sh = quota", "'/bin/sh' is outside the folder: write the name of a file in it, without a path"),
        (b".. = quota", "'..' is outside the folder: write the name of a file in it, without a path"),
        (b"sub/a.py = quota", "'sub/a.py' is outside the folder: write the name of a file in it, without a path"),
        (b"a\x00b = quota", "'a\\x00b' is not a valid file name"),
        (b"x" * 256 + b" = quota", "'" + "x" * 60 + "' is not a valid file name"),
        (b"\xff.py = quota", "is not UTF-8 text"),
        (b"a.py = " + b" ".join(b"q%d" % n for n in range(101)), "a.py has more than 100 patterns"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(text, message):
    assert parse(b"# first\n" + text + b"\n") == ([], [Wrong(2, message)])


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    lines, wrong = parse(b"\xef\xbb\xbfnotify.py = quota\r\n")

    assert wrong == []
    assert lines == [Line(1, "notify.py", ("quota",))]


def test_a_program_that_is_there_twice_is_told_with_both_lines():
    _, wrong = parse(b"a.py = quota\nb.py = disk\na.py = disk\n")

    assert wrong == [Wrong(3, "a.py appears twice, first in line 1: put all its patterns there")]


@given(st.binary(max_size=200))
def test_no_conf_is_too_strange_to_be_read(content):
    lines, _ = parse(content)

    assert all("/" not in each.name and each.patterns for each in lines)


def checked(tmp_path, *folders, on="quota", more=""):
    """Return the mistakes and the warnings of a subscription, without its own place and the test's folder."""
    file = tmp_path / "subscriptions.yaml"
    listed = ", ".join(map(str, folders))
    file.write_text(
        f"version: 1\nsubscriptions:\n  - name: a\n    on: {on}\n    scripts: {{folders: [{listed}]{more}}}\n"
    )
    report = check(file, SHIPPED)
    return tuple(
        [str(each).removeprefix(f"{file}:5: a: scripts.").replace(f"{tmp_path}/", "") for each in some]
        for some in (sorted([*report.mistakes, *report.faults], key=str), report.warnings)
    )


def test_a_folder_in_order_has_no_mistakes(tmp_path, folder):
    assert checked(tmp_path, folder) == ([], [])


def test_every_mistake_is_told_with_its_file_and_line(tmp_path, folder):
    (folder / "handlers.conf").write_text(
        "notify.py = softQuotaExceded\ngone.py = quota\nlink.py = quota\nout.py = quota\ndir.py = quota\n"
        "plain = quota\nlocked = quota\nloose.py = quota\nlost = quota\n"
    )
    (folder / "link.py").symlink_to("notify.py")
    (folder / "out.py").symlink_to("/bin/sh")
    (folder / "dir.py").mkdir()
    (folder / "plain").write_text("echo\n")
    (folder / "locked").write_text("#!/bin/sh\n")
    (folder / "loose.py").write_text("")
    (folder / "loose.py").chmod(0o664)
    (folder / "lost").write_text("#!/no/such/interpreter -x\n")

    mistakes, _ = checked(tmp_path, folder)

    start = "folders.1: scripts/handlers.conf"
    loose = f"(it is {folder.owner()}:{folder.group()}, 0664)"
    assert mistakes == [
        f"{start}:1: no event type, category or pattern 'softQuotaExceded'; did you mean softQuotaExceeded?",
        f"{start}:2: scripts/gone.py does not exist",
        f"{start}:4: scripts/out.py is a link out of its folder, to /bin/sh",
        f"{start}:5: scripts/dir.py is not a regular file",
        f"{start}:6: scripts/plain names no interpreter: begin it with #!, or name it *.py or *.pl",
        f"{start}:7: scripts/locked is not executable: run chmod +x",
        f"{start}:8: scripts/loose.py is writable by other users {loose}: run chmod go-w scripts/loose.py",
        f"{start}:9: scripts/lost needs the interpreter '/no/such/interpreter', which does not exist on this machine",
    ]


def test_one_name_in_two_folders_is_a_clash(tmp_path, folder):
    other = make(tmp_path, "more", "# ours\nnotify.py = disk\n", "notify.py")

    mistakes, _ = checked(tmp_path, folder, other, on="[quota, disk]")

    assert mistakes == [
        "folders.2: more/handlers.conf:2: notify.py is also in scripts/handlers.conf:1: rename one of them"
    ]


def test_what_can_never_run_is_warned_of(tmp_path, folder):
    _, warnings = checked(tmp_path, folder, on="disk")

    assert warnings == [
        "folders.1: scripts/handlers.conf:1: the subscription is not on softQuotaExceeded, so notify.py never runs"
    ]


def test_every_program_of_a_folder_is_accounted_for(tmp_path, folder):
    for name, mode in {"forgotten.sh": 0o755, "old.py": 0o755, "library.py": 0o644, ".hidden": 0o755}.items():
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(mode)
    (folder / "link.py").symlink_to("notify.py")
    (folder / "sub").mkdir()

    mistakes, warnings = checked(tmp_path, folder)

    assert mistakes == []
    start = "folders.1: scripts/handlers.conf has no line for"
    assert warnings == [f"{start} forgotten.sh, old.py: no event starts what it lacks"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("#!/bin/sh\r\n", "lines that end with CR and LF"),
        ("#!/usr/bin/env nosuch\n", "there is no program 'nosuch' in the PATH of commands"),
        ("#!/usr/bin/env sh -e\n", "'sh -e' in the PATH"),
        ("#!/usr/bin/env\n", "would start the script again and again"),
        ("#!/usr/bin/env env\n", "would start the script again and again"),
        ("\ufeff#!/bin/sh\n", "byte order mark"),
        ("", "is empty"),
    ],
)
def test_one_script_that_the_kernel_cannot_start_is_named(tmp_path, folder, line, message):
    (folder / "bad").write_bytes(line.encode())
    (folder / "bad").chmod(0o755)
    (folder / "handlers.conf").write_text("notify.py = softQuotaExceeded\nbad = softQuotaExceeded\n")

    mistakes, _ = checked(tmp_path, folder)

    assert len(mistakes) == 1
    assert mistakes[0].startswith("folders.1: scripts/handlers.conf:2: scripts/bad ")
    assert message in mistakes[0]


def test_an_option_that_only_another_env_may_know_is_a_warning(tmp_path, folder):
    (folder / "bad").write_text("#!/usr/bin/env -e -u\n")
    (folder / "bad").chmod(0o755)
    (folder / "handlers.conf").write_text("notify.py = softQuotaExceeded\nbad = softQuotaExceeded\n")

    mistakes, (warning,) = checked(tmp_path, folder)

    assert mistakes == []
    assert "handlers.conf:2: " in warning
    assert "starts env, which has no option '-e -u': write #!/usr/bin/env -S" in warning


def test_a_consumer_serves_what_this_machine_can_do_and_logs_the_rest(tmp_path, folder, caplog):
    (folder / "notify.py").unlink()
    checked(tmp_path, folder)

    found = load([tmp_path / "subscriptions.yaml"], Settings())

    assert [each.name for each in found.subscriptions] == ["a"]
    (record,) = caplog.records
    assert "scripts/notify.py does not exist" in record.reason


def test_env_searches_the_path_that_the_subscription_sets(tmp_path, folder):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "nosuch").write_text("#!/bin/sh\n")
    (tmp_path / "tools" / "nosuch").chmod(0o755)
    (folder / "notify.py").rename(folder / "notify")
    (folder / "notify").write_text("#!/usr/bin/env nosuch\n")
    (folder / "handlers.conf").write_text("notify = softQuotaExceeded\n")

    assert checked(tmp_path, folder, more=f", environment: {{PATH: {tmp_path}/tools}}") == ([], [])
    assert len(checked(tmp_path, folder)[0]) == 1


def test_a_folder_that_is_not_there_yet_is_a_warning(tmp_path):
    mistakes, warnings = checked(tmp_path, tmp_path / "scripts")

    assert mistakes == []
    assert warnings == ["folders.1: the folder scripts does not exist: create it before an event arrives"]


@pytest.mark.parametrize("what", ["folder", "conf", "parent"])
def test_what_others_may_write_to_is_refused(tmp_path, what):
    (tmp_path / "outer").mkdir()
    folder = make(tmp_path / "outer", "scripts", "notify.py = quota\n", "notify.py")
    path = {"folder": folder, "conf": folder / "handlers.conf", "parent": tmp_path / "outer"}[what]
    path.chmod(0o777)

    mistakes, _ = checked(tmp_path, folder)

    assert len(mistakes) == 1
    assert "is writable by other users" in mistakes[0]
    assert f": run chmod go-w {path.relative_to(tmp_path)}" in mistakes[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["", "handlers.conf", "notify.py"])
def test_what_belongs_to_another_user_is_refused(tmp_path, folder, what):
    os.chown(folder / what, 12345, 12345)

    mistakes, _ = checked(tmp_path, folder)

    assert len(mistakes) == 1
    assert "does not belong to root (it is 12345:12345, " in mistakes[0]
    assert f": run chown root {(folder / what).relative_to(tmp_path)}" in mistakes[0]


def test_programs_are_known_by_their_suffix_or_their_first_line(tmp_path, folder):
    for name in ("a.py", "a.pl", "a.sh"):
        (folder / name).write_text("#! /bin/sh -e\n")
        (folder / name).chmod(0o755)

    with trust.folder(folder) as directory:
        assert trust.words(directory, folder / "a.py") == [sys.executable, "-I", str(folder / "a.py")]
        assert trust.words(directory, folder / "a.sh") == [str(folder / "a.sh")]
        assert trust.words(directory, folder / "a.pl")[0].endswith("/perl")


def test_links_inside_the_folder_are_followed_but_not_for_ever(folder):
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to("./notify.py")
    (folder / "round").symlink_to("round")
    (folder / "up").symlink_to("../scripts/../notify.py")

    with trust.folder(folder) as directory:
        assert trust.words(directory, folder / "a") == [str(folder / "a")]
        for name, message in {"round": "is a chain of more than 8 links", "up": "is a link out of its folder"}.items():
            with pytest.raises(trust.Refused, match=message):
                trust.words(directory, folder / name)


def names(folders, topic):
    programs, wrong = folders.programs(topic)
    assert wrong == ""
    return [each.name for each in programs]


def test_a_map_is_read_anew_when_it_has_changed_and_only_then(folder, monkeypatch):
    (folder / "handlers.conf").write_text("notify.py = softQuotaExceeded\n")
    folders = Folders([folder], SHIPPED)
    assert names(folders, QUOTA) == ["notify.py"]
    assert names(folders, DISK) == []

    (folder / "handlers.conf").write_text("notify.py = diskFailure\n")

    assert names(folders, QUOTA) == []
    assert names(folders, DISK) == ["notify.py"]
    monkeypatch.setattr("consumers.verbs.scripts.folders.survey", lambda *_: pytest.fail("read again"))
    assert names(folders, QUOTA) == []


def test_what_a_map_said_before_is_not_used_instead(folder):
    folders = Folders([folder], SHIPPED)
    folders.programs(QUOTA)

    (folder / "handlers.conf").write_text("notify.py softQuotaExceeded\nother.py = quota\n")
    programs, wrong = folders.programs(QUOTA)
    assert [each.name for each in programs] == ["other.py"]
    assert "handlers.conf:1: 'notify.py softQuotaExceeded' is not `file = pattern`" in wrong
    (folder / "handlers.conf").unlink()
    programs, wrong = folders.programs(QUOTA)
    assert programs == []
    assert "handlers.conf does not exist" in wrong
    (folder / "handlers.conf").write_text("notify.py = quota\n")

    assert names(folders, QUOTA) == ["notify.py"]
