"""What may become code or settings: what only root and the program's own user can change."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import router.trust
import shim.trust

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="gives files to other users")
OTHER = 4321


@pytest.fixture(params=[router.trust, shim.trust], ids=["router", "shim"])
def trust(request: pytest.FixtureRequest) -> ModuleType:
    """The rules of both, which cannot share a module."""
    module: ModuleType = request.param
    return module


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "site" / "subscriptions.yaml"
    path.parent.mkdir(mode=0o755)
    path.write_text("version: 1\n")
    path.chmod(0o644)
    return path


def test_a_file_of_our_own_that_nobody_else_can_write_is_obeyed(trust, file):
    assert trust.problem(file) == ""
    assert trust.problem(os.path.relpath(file)) == ""


def test_what_is_not_there_is_left_to_whoever_opens_it(trust, tmp_path):
    assert trust.problem(tmp_path / "none" / "x") == ""
    tmp_path.chmod(0o777)
    assert trust.problem(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("spoil", "which", "fault"),
    [
        (lambda file: file.chmod(0o664), "file", "is writable by other users"),
        (lambda file: file.chmod(0o646), "file", "is writable by other users"),
        (lambda file: file.parent.chmod(0o775), "folder", "is writable by other users"),
        (lambda file: file.parent.chmod(0o757), "folder", "is writable by other users"),
        pytest.param(lambda file: os.chown(file, OTHER, 0), "file", "does not belong to root", marks=needs_root),
        pytest.param(
            lambda file: os.chown(file.parent, OTHER, 0), "folder", "does not belong to root", marks=needs_root
        ),
    ],
)
def test_what_others_can_change_is_refused_with_its_owner_its_mode_and_the_way_out(
    trust: ModuleType, file: Path, spoil: Callable[[Path], None], which: str, fault: str
) -> None:
    os.chown(file, -1, 0) if ROOT else None
    os.chown(file.parent, -1, 0) if ROOT else None
    spoil(file)
    at_fault = file if which == "file" else file.parent
    facts = at_fault.stat()

    found = trust.problem(file)

    owner = "4321" if facts.st_uid == OTHER else pwd.getpwuid(facts.st_uid).pw_name
    assert found.startswith(f"{'the folder ' * (which == 'folder')}{at_fault} {fault}")
    assert f"(it is {owner}:" in found
    assert f"{facts.st_mode & 0o7777:04o}): run ch" in found
    assert found.endswith(str(at_fault))


@needs_root
def test_a_sticky_folder_is_no_fault_but_a_link_of_another_user_in_it_is(trust, file, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "mine").symlink_to(file)
    (shared / "theirs").symlink_to(file)
    os.chown(shared / "theirs", OTHER, OTHER, follow_symlinks=False)

    assert trust.problem(shared / "mine") == ""
    assert trust.problem(shared / "theirs").startswith(f"{shared / 'theirs'} does not belong to root")
    assert "run chown -h root" in trust.problem(shared / "theirs")


def test_a_folder_between_two_links_counts(trust, file, tmp_path):
    between = tmp_path / "between"
    between.mkdir()
    (between / "second").symlink_to(file)
    (tmp_path / "first").symlink_to("between/../between/second")
    assert trust.problem(tmp_path / "first") == ""

    between.chmod(0o777)

    assert trust.problem(tmp_path / "first").startswith(f"the folder {between} is writable")


def test_the_open_file_is_judged_and_not_what_has_taken_its_name(file):
    file.chmod(0o666)
    with file.open() as stream:
        file.unlink()
        file.write_text("")
        file.chmod(0o644)

        assert router.trust.problem(file) == ""
        assert "is writable by other users" in router.trust.problem(file, stream.fileno())


def test_the_group_that_is_the_owners_alone_may_write(trust, file, monkeypatch):
    file.chmod(0o664)
    names, members = {"me": 700}, []
    monkeypatch.setattr(trust.pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="me", pw_gid=names["me"]))
    monkeypatch.setattr(trust.grp, "getgrgid", lambda _: SimpleNamespace(gr_name="me", gr_mem=members))
    own = SimpleNamespace(st_mode=file.stat().st_mode, st_uid=os.geteuid(), st_gid=700)
    assert trust.of_status(str(file), own) == ""

    members.append("bob")

    assert "is writable by other users" in trust.of_status(str(file), own)


def test_what_is_mounted_read_only_can_be_changed_by_nobody(trust, file, monkeypatch):
    file.chmod(0o666)
    monkeypatch.setattr(trust.os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))

    assert trust.problem(file) == ""
