"""What may become code or settings: what only root and the program's own user can change."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from sqlalchemy.engine import make_url

import router.trust
import shim.trust
from consumers.verbs.post.connections.certificates import Files, Unusable
from router.broker.addresses import parse, tls_context
from router.database.engines import engine
from router.errors import SettingsError
from shim import broker_urls, connection

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


def test_a_private_key_that_all_users_can_read_is_refused_with_its_mode_and_the_way_out(trust, file):
    file.chmod(0o640)
    assert trust.problem_of_secret(file) == ""

    file.chmod(0o644)

    found = trust.problem_of_secret(file)
    assert found == (
        f"{file} has a private key and is readable by all users (its mode is 0644): run chmod o-rwx {file}"
    )
    assert trust.problem(file) == ""


def test_a_private_key_that_others_can_change_is_refused_for_that(trust, file):
    file.chmod(0o666)

    assert "is writable by other users" in trust.problem_of_secret(file)
    assert trust.problem_of_secret(file.with_name("none")) == ""


def test_a_key_that_is_mounted_read_only_is_used_with_the_mode_that_it_has(trust, file, monkeypatch):
    monkeypatch.setattr(trust, "_is_read_only", lambda _: True)

    assert trust.problem_of_secret(file) == ""


@pytest.mark.parametrize(("spoilt", "mode"), [("ca.pem", 0o666), ("me.pem", 0o666), ("me.key", 0o644)])
def test_the_files_of_a_tls_connection_are_judged_where_it_is_made(tmp_path, spoilt, mode):
    for name, usual in (("ca.pem", 0o644), ("me.pem", 0o644), ("me.key", 0o600)):
        (tmp_path / name).touch(mode=usual)
    (tmp_path / spoilt).chmod(mode)
    authority, own, key = (tmp_path / name for name in ("ca.pem", "me.pem", "me.key"))
    names_of_libpq = f"sslrootcert={authority}&sslcert={own}&sslkey={key}"
    names = f"cacertfile={authority}&certfile={own}&keyfile={key}"

    for raised, end in (
        (SettingsError, lambda: tls_context(parse(f"amqps://mq1/?{names}"))),
        (ValueError, lambda: connection._tls(broker_urls.parse(f"amqps://n1@mq1/?{names}"))),
        (Unusable, Files(authority, own, key).context),
        (SettingsError, lambda: engine(make_url(f"postgresql://db/bus?{names_of_libpq}"))),
    ):
        with pytest.raises(raised, match=rf"{tmp_path / spoilt} .*: run chmod"):
            end()
