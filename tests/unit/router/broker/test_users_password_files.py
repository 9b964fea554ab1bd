"""Passwords in files: made once, closed to others, renewed beside the old one."""

import os
import stat
from pathlib import Path

import pytest

from router.broker.users.drift import Definitions, Grants
from router.broker.users.file_readers import Readers
from router.broker.users.password_files import Passwords
from router.broker.users.permissions import Role
from router.broker.users.provisioning import Granting, Wanted, programs
from router.errors import Refused, SettingsError, Unreachable
from tests.other_users import as_root, reachable_folder, run_as


class Broker:
    """Keeps definitions as a broker would, and ends where a test says so."""

    def __init__(self):
        self.kept = {"users": {}, "permissions": {}, "topic_permissions": {}, "vhosts": {}}
        self.imports, self.dies_before, self.forgets = 0, None, None

    def definitions(self) -> Definitions:
        return {kind: [dict(each) for each in rows.values()] for kind, rows in self.kept.items()}

    def add(self, wanted):
        self.imports += 1
        if self.imports == self.dies_before:
            raise Unreachable("ended")
        for kind, rows in self.kept.items():
            if kind == self.forgets:
                continue
            rows.update(
                {(each.get("user"), each.get("name"), each.get("exchange")): each for each in wanted.get(kind, [])}
            )

    def remove(self, users):
        for rows in self.kept.values():
            for key in [key for key in rows if {key[0], key[1]} & set(users)]:
                del rows[key]


@pytest.fixture
def granting(tmp_path):
    def of(*nodes, **wanted):
        nodes, ours = nodes or ("nsd01", "nsd02"), programs("clusterbus")
        return Granting(Wanted(nodes, ours, **wanted), Passwords(tmp_path / "nodes"), Passwords(tmp_path / "users"))

    return of


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_passwords_are_made_once_long_and_closed(tmp_path):
    passwords = Passwords(tmp_path / "deep" / "nodes")

    first = passwords.made("nsd01")

    path = passwords.file("nsd01")
    assert passwords.made("nsd01") == first == passwords.known("nsd01") == path.read_text().rstrip("\n")
    assert len(first) >= 43
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert [each.name for each in path.parent.iterdir()] == ["password"]
    assert passwords.made("nsd02") != first


def test_a_file_that_is_there_is_kept_whatever_it_holds(tmp_path):
    (tmp_path / "nsd01").mkdir()
    (tmp_path / "nsd01" / "password").write_text("their own\n")
    (tmp_path / "nsd01" / "password").chmod(0o640)

    assert Passwords(tmp_path).made("nsd01") == "their own"


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\n", b"a\0b", b"x" * 2000])
def test_what_is_no_password_is_refused_and_not_shown(tmp_path, content):
    (tmp_path / "nsd01").mkdir()
    (tmp_path / "nsd01" / "password").write_bytes(content)
    (tmp_path / "nsd01" / "password").chmod(0o600)

    with pytest.raises(SettingsError, match="does not hold a password") as refused:
        Passwords(tmp_path).made("nsd01")
    assert "xxx" not in str(refused.value)


def test_a_password_that_others_can_reach_or_that_is_elsewhere_is_refused(tmp_path):
    passwords = Passwords(tmp_path)
    passwords.made("nsd01")
    passwords.file("nsd01").chmod(0o644)
    (tmp_path / "nsd02").mkdir()
    passwords.file("nsd02").symlink_to(passwords.file("nsd01"))

    with pytest.raises(SettingsError, match="chmod 600"):
        passwords.known("nsd01")
    with pytest.raises(SettingsError, match="nsd02"):
        passwords.known("nsd02")


def test_planning_touches_nothing(tmp_path, granting):
    assert {each.does for each in granting().planned().changes(Broker().definitions())} == {"add"}
    assert list(tmp_path.iterdir()) == []


def test_applied_twice_nothing_is_imported_the_second_time(tmp_path, granting):
    broker = Broker()

    first, there = granting().apply(broker), broker.definitions()
    second = granting().apply(broker)

    assert {each.does for each in first.changes} == {"add"}
    assert sorted(first.made) == ["clusterbus-consumer", "clusterbus-operator", "clusterbus-router", "nsd01", "nsd02"]
    assert ({each.does for each in second.changes}, second.made, broker.imports) == ({"keep"}, [], 4)
    assert broker.definitions() == there
    assert granting().settled(there)


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_ended_at_any_import_the_next_run_goes_on(tmp_path, granting, moment):
    broker = Broker()
    broker.dies_before = moment
    with pytest.raises(Unreachable):
        granting().apply(broker)
    made = files(tmp_path)
    assert broker.definitions()["permissions"] == []

    granting().apply(broker)

    assert files(tmp_path) == made
    assert granting().settled(broker.definitions())


def test_a_node_whose_row_does_not_arrive_gets_no_rights(granting):
    broker = Broker()
    broker.forgets = "topic_permissions"

    with pytest.raises(Refused, match="nsd01 has no topic permission row"):
        granting().apply(broker)

    assert broker.definitions()["permissions"] == []


@pytest.mark.parametrize("moment", [None, 4, 5])
def test_a_password_is_renewed_once_however_often_it_is_ended(tmp_path, granting, moment):
    broker = Broker()
    granting().apply(broker)
    old = files(tmp_path)
    broker.dies_before = moment

    try:
        granting(renewed=frozenset(["nsd01"])).apply(broker)
    except Unreachable:
        assert not granting().settled(broker.definitions())
        pending = files(tmp_path)["nodes/nsd01/password.new"]
        done = granting().apply(broker)
        assert done.renewed == ["nsd01"]
        assert files(tmp_path)["nodes/nsd01/password"] == pending

    new = files(tmp_path)
    assert {name for name in new if new[name] != old.get(name)} == {"nodes/nsd01/password"}
    assert granting().settled(broker.definitions())


def test_who_left_is_gone_at_the_broker_and_on_disk_and_nothing_else(tmp_path, granting):
    broker = Broker()
    granting().apply(broker)
    certificate = tmp_path / "nodes" / "nsd02" / "node.pem"
    certificate.write_text("")

    for each in ("nsd01", "nsd02"):
        granting().dismiss([each], broker)

    assert {each["name"] for each in broker.definitions()["users"]} == {name for name, _ in programs("clusterbus")}
    assert [path.name for path in (tmp_path / "nodes").rglob("*")] == ["nsd02", "node.pem"]
    with pytest.raises(Refused, match="clusterbus-router does not have a node's rights"):
        granting().dismiss(["clusterbus-router"], broker)


def test_a_node_may_not_have_the_name_of_a_programs_user(granting):
    with pytest.raises(SettingsError, match="clusterbus-router: a node has the name of a program's user"):
        granting("clusterbus-router")


def test_nodes_with_certificates_have_no_passwords(tmp_path, granting):
    broker = Broker()

    granting(bare=frozenset(["nsd01", "nsd02"])).apply(broker)

    assert not (tmp_path / "nodes").exists()
    assert {each["password_hash"] for each in broker.definitions()["users"] if each["name"].startswith("nsd")} == {""}


def test_nothing_that_is_shown_holds_a_password(tmp_path, granting):
    grants, done = granting().made()

    shown = f"{grants!r} {done!r} {granting().wanted!r} {grants.definitions()}"

    assert isinstance(grants, Grants)
    assert [each.role for each in grants.users[2:]] == [Role.ROUTER, Role.CONSUMER, Role.OPERATOR]
    assert not [name for name, secret in files(tmp_path).items() if secret.strip() in shown]


@pytest.fixture
def hardened():
    """The umask of a hardened machine."""
    before = os.umask(0o077)
    yield
    os.umask(before)


PROGRAMS = {"clusterbus-router": 61_001, "clusterbus-consumer": 61_002, "clusterbus": 61_003}
"""The numbers of the groups, which are also those of the users."""


def readers(numbers=PROGRAMS) -> Readers:
    return Readers.of_system(["clusterbus-router", "clusterbus-consumer"], ["clusterbus-operator"], numbers.get)


def rights(path: Path) -> tuple[int, int, int]:
    return path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)


ROLES = ("clusterbus-router", "clusterbus-consumer", "clusterbus-operator")


@as_root
@pytest.mark.usefixtures("hardened")
def test_each_program_reads_its_own_password_and_nobody_anothers_whatever_the_umask():
    with reachable_folder() as folder:
        passwords = Passwords(folder / "etc" / "secrets" / "users", readers=readers())
        for name in ROLES:
            passwords.made(name)

        def reads(user: str, name: str) -> str:
            done = run_as(PROGRAMS[user], PROGRAMS[user], ["cat", str(passwords.file(name))])
            return done.stdout.strip() if done.returncode == 0 else done.stderr.rpartition(": ")[2].strip()

        found = {(user, name): reads(user, name) for user in PROGRAMS for name in ROLES}

        own = {(name, name): passwords.known(name) for name in ROLES if name in PROGRAMS}
        assert found == {each: own.get(each, "Permission denied") for each in found}
        assert rights(passwords.file("clusterbus-operator")) == (0, 0, 0o600)
        assert rights(passwords.file("clusterbus-operator").parent) == (0, 0, 0o700)
        assert rights(folder / "etc" / "secrets" / "users") == (0, 0, 0o755)


@as_root
@pytest.mark.usefixtures("hardened")
def test_a_renewed_password_is_for_the_same_readers(tmp_path):
    passwords = Passwords(tmp_path, readers=readers())
    passwords.made("clusterbus-router")

    passwords.renewed("clusterbus-router")
    passwords.settle("clusterbus-router")

    assert rights(passwords.file("clusterbus-router")) == (0, 61_001, 0o640)


@as_root
def test_files_of_earlier_releases_are_mended_and_named(tmp_path):
    before = Passwords(tmp_path)
    for name in ROLES:
        before.made(name)
        os.chown(before.file(name), 0, PROGRAMS["clusterbus"])
        before.file(name).chmod(0o640)
        os.chown(before.file(name).parent, 0, PROGRAMS["clusterbus"])
        before.file(name).parent.chmod(0o750)
    passwords = Passwords(tmp_path, readers=readers())

    seen = {name: passwords.misowned(name) for name in ROLES}
    told = {name: passwords.repair(name) for name in ROLES}

    for name in ROLES:
        file = passwords.file(name)
        assert told[name] == seen[name] == [f"{each} is open to the group 61003" for each in (file, file.parent)]
        group = PROGRAMS.get(name, 0)
        modes = (0o640, 0o750) if group else (0o600, 0o700)
        assert [rights(file), rights(file.parent)] == [(0, group, mode) for mode in modes]
        assert passwords.misowned(name) == []


@as_root
def test_granting_repairs_files_at_a_broker_where_nothing_else_differs_and_says_so(tmp_path):
    broker, wanted = Broker(), Wanted((), programs("clusterbus"))
    shared = Passwords(tmp_path / "users", readers=readers())
    Granting(wanted, Passwords(tmp_path / "nodes"), shared).apply(broker)
    file = shared.file("clusterbus-operator")
    os.chown(file, 0, PROGRAMS["clusterbus"])
    file.chmod(0o640)
    granting = Granting(wanted, Passwords(tmp_path / "nodes"), shared)

    was_settled = granting.settled(broker.definitions())
    done = granting.apply(broker)

    assert not was_settled
    assert done.repaired == [f"{file} is open to the group 61003"]
    assert granting.settled(broker.definitions())


@as_root
@pytest.mark.parametrize(
    ("user", "owner", "mode", "after"),
    [
        ("clusterbus-router", (0, 0), 0o600, (0, 61_001, 0o640)),  # made before the group
        ("clusterbus-router", (61_001, 61_001), 0o600, (0, 61_001, 0o640)),
        ("clusterbus-router", (0, 61_002), 0o640, (0, 61_001, 0o640)),
        ("clusterbus-router", (0, 0), 0o440, (0, 0, 0o440)),  # the site's own
        ("clusterbus-router", (0, 61_099), 0o640, (0, 61_099, 0o640)),
        ("clusterbus-operator", (0, 61_099), 0o640, (0, 0, 0o600)),
        ("clusterbus-operator", (0, 0), 0o400, (0, 0, 0o400)),
        ("nsd01", (61_099, 61_003), 0o640, (61_099, 61_003, 0o640)),
    ],
)
def test_only_a_wrong_owner_is_mended_and_what_a_site_opened_stays(tmp_path, user, owner, mode, after):
    passwords = Passwords(tmp_path, readers=readers())
    passwords.made(user)
    os.chown(passwords.file(user), *owner)
    passwords.file(user).chmod(mode)

    passwords.repair(user)

    assert rights(passwords.file(user)) == after


@as_root
def test_a_program_without_a_system_group_has_its_password_closed(tmp_path):
    passwords = Passwords(tmp_path, readers=readers({"clusterbus": 61_003}))
    passwords.made("clusterbus-router")
    os.chown(passwords.file("clusterbus-router"), 0, 61_003)
    passwords.file("clusterbus-router").chmod(0o640)

    assert passwords.repair("clusterbus-router")

    assert rights(passwords.file("clusterbus-router")) == (0, 0, 0o600)


@as_root
def test_a_link_in_place_of_a_password_is_not_followed(tmp_path):
    passwords = Passwords(tmp_path / "users", readers=readers())
    passwords.made("clusterbus-router")
    victim = tmp_path / "victim"
    victim.write_text("x")
    os.chown(victim, 61_099, 61_099)
    passwords.file("clusterbus-router").unlink()
    passwords.file("clusterbus-router").symlink_to(victim)
    os.chown(passwords.file("clusterbus-router"), 61_099, 61_099, follow_symlinks=False)

    with pytest.raises(SettingsError, match="secrets: "):
        passwords.repair("clusterbus-router")

    assert rights(victim)[:2] == (61_099, 61_099)


def test_what_a_kill_left_of_a_password_goes_with_its_user(tmp_path):
    passwords = Passwords(tmp_path)
    passwords.made("nsd01")
    for name in (".password.0123456789abcdef", ".password.new.0123456789abcdef"):
        (tmp_path / "nsd01" / name).write_text("half")

    passwords.forget("nsd01")

    assert list(tmp_path.iterdir()) == []
