"""What a `handlers.conf` says, and what is said of it before an event comes."""

import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.check import check
from consumers.verbs.scripts import trust
from consumers.verbs.scripts.folders import ConfUnusable, Folders
from consumers.verbs.scripts.mapping import Line, Wrong, parse
from router.catalogue import Catalogues
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
        (b"= quota", "has no file before the ="),
        (b"a.py =", "a.py has no pattern"),
        (b"a.py = #", 'a.py has no pattern: a comment; everything is written "#", in quotes'),
        (b'a.py = "#', "a quote that is not closed, or not alone, in '\"#'"),
        (b'a.py = "#"x', "a quote that is not closed, or not alone, in '\"#\"x'"),
        (b"../a.py = quota", "'../a.py' is outside the folder: only files that are in it, by their names alone"),
        (b"/bin/sh = quota", "'/bin/sh' is outside the folder: only files that are in it, by their names alone"),
        (b".. = quota", "'..' is outside the folder: only files that are in it, by their names alone"),
        (b"sub/a.py = quota", "'sub/a.py' is outside the folder: only files that are in it, by their names alone"),
        (b"a\x00b = quota", "'a\\x00b' is no name of a file"),
        (b"x" * 256 + b" = quota", "'" + "x" * 60 + "' is no name of a file"),
        (b"\xff.py = quota", "is no text in UTF-8"),
        (b"a.py = " + b" ".join(b"q%d" % n for n in range(101)), "a.py has more than 100 patterns"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(text, message):
    assert parse(b"# first\n" + text + b"\n") == ([], [Wrong(2, message)])


def test_a_program_that_is_there_twice_is_told_with_both_lines():
    _, wrong = parse(b"a.py = quota\nb.py = disk\na.py = disk\n")

    assert wrong == [Wrong(3, "a.py is here twice, first in line 1: write all its patterns there")]


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_conf_is_too_strange_to_be_read(content):
    lines, _ = parse(content)

    assert all("/" not in each.name and each.patterns for each in lines)


def checked(tmp_path, *folders, on="quota"):
    """Return the mistakes and the warnings of a subscription, without its own place and the test's folder."""
    file = tmp_path / "subscriptions.yaml"
    listed = ", ".join(map(str, folders))
    file.write_text(f"version: 1\nsubscriptions:\n  - name: a\n    on: {on}\n    scripts: {{folders: [{listed}]}}\n")
    report = check(file, SHIPPED)
    return tuple(
        [str(each).removeprefix(f"{file}:5: a: scripts.").replace(f"{tmp_path}/", "") for each in some]
        for some in (report.mistakes, report.warnings)
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
    assert mistakes == [
        f"{start}:1: no event type, category or pattern 'softQuotaExceded'; did you mean softQuotaExceeded?",
        f"{start}:2: scripts/gone.py is not there",
        f"{start}:4: scripts/out.py is a link out of the folder, to /bin/sh",
        f"{start}:5: scripts/dir.py is no regular file",
        f"{start}:6: scripts/plain says not what runs it: begin it with #!, or name it *.py or *.pl",
        f"{start}:7: scripts/locked is not executable: chmod +x",
        f"{start}:8: scripts/loose.py can be written by others than its owner: chmod go-w",
        f"{start}:9: scripts/lost is to be run by '/no/such/interpreter', which is no program on this machine",
    ]


def test_one_name_in_two_folders_is_a_clash(tmp_path, folder):
    other = make(tmp_path, "more", "# ours\nnotify.py = disk\n", "notify.py")

    mistakes, _ = checked(tmp_path, folder, other, on="[quota, disk]")

    assert mistakes == [
        "folders.2: more/handlers.conf:2: notify.py is taken by scripts/handlers.conf:1: rename one of them"
    ]


def test_what_can_never_run_is_warned_of(tmp_path, folder):
    _, warnings = checked(tmp_path, folder, on="disk")

    assert warnings == [
        "folders.1: scripts/handlers.conf:1: the subscription is not on softQuotaExceeded, so notify.py never runs"
    ]


def test_a_folder_that_is_not_there_yet_is_a_warning(tmp_path):
    mistakes, warnings = checked(tmp_path, tmp_path / "scripts")

    assert mistakes == []
    assert warnings == ["folders.1: the folder scripts is not there: make it before an event comes"]


@pytest.mark.parametrize("what", ["folder", "conf", "parent"])
def test_what_others_may_write_to_is_refused(tmp_path, what):
    (tmp_path / "outer").mkdir()
    folder = make(tmp_path / "outer", "scripts", "notify.py = quota\n", "notify.py")
    path = {"folder": folder, "conf": folder / "handlers.conf", "parent": tmp_path / "outer"}[what]
    path.chmod(0o777)

    mistakes, _ = checked(tmp_path, folder)

    assert len(mistakes) == 1
    assert "can be written by" in mistakes[0]
    assert ": chmod go-w" in mistakes[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["", "handlers.conf", "notify.py"])
def test_what_belongs_to_another_user_is_refused(tmp_path, folder, what):
    os.chown(folder / what, 12345, 12345)

    mistakes, _ = checked(tmp_path, folder)

    assert len(mistakes) == 1
    assert "belongs to the user 12345, neither to root nor to us: chown root" in mistakes[0]


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
        for name, message in {"round": "is a link to a link", "up": "is a link out of the folder"}.items():
            with pytest.raises(trust.Refused, match=message):
                trust.words(directory, folder / name)


def test_a_map_is_read_anew_when_it_has_changed_and_only_then(folder, monkeypatch):
    (folder / "handlers.conf").write_text("notify.py = softQuotaExceeded\n")
    folders = Folders([folder], SHIPPED)
    assert [each.name for each in folders.programs(QUOTA)] == ["notify.py"]
    assert folders.programs(DISK) == []

    (folder / "handlers.conf").write_text("notify.py = diskFailure\n")

    assert folders.programs(QUOTA) == []
    assert [each.name for each in folders.programs(DISK)] == ["notify.py"]
    monkeypatch.setattr("consumers.verbs.scripts.folders.survey", lambda *_: pytest.fail("read again"))
    assert folders.programs(QUOTA) == []


def test_what_a_map_said_before_is_not_used_instead(folder):
    folders = Folders([folder], SHIPPED)
    folders.programs(QUOTA)

    (folder / "handlers.conf").write_text("notify.py softQuotaExceeded\n")
    with pytest.raises(ConfUnusable, match=r"handlers.conf:1: 'notify.py softQuotaExceeded' is not `file = pattern`"):
        folders.programs(QUOTA)
    (folder / "handlers.conf").unlink()
    with pytest.raises(ConfUnusable, match=r"handlers.conf is not there"):
        folders.programs(QUOTA)
    (folder / "handlers.conf").write_text("notify.py = quota\n")

    assert [each.name for each in folders.programs(QUOTA)] == ["notify.py"]
