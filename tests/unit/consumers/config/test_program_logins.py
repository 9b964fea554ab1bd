"""Whether the system users of router and consumers may read what they log in with."""

import os
import pwd
from pathlib import Path

import pytest

from consumers.config import program_logins
from consumers.subscriptions.validation import check
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from tests.other_users import as_root, reachable_folder

NOBODY = pwd.getpwnam("nobody")


def settings_of(file: Path, user: str = "nobody") -> Settings:
    url = f"postgresql://me@db/bus?password=file:{file}"
    login = {"user": user, "password_file": str(file)}
    return Settings.model_validate({"router": {"broker": login, "state": url}, "facts": {"store": url}})


@as_root
def test_check_names_each_setting_whose_file_its_program_may_not_read() -> None:
    with reachable_folder() as folder:
        file = folder / "password"
        file.write_text("word\n")
        file.chmod(0o600)
        file.chmod(0o640)
        subscriptions = folder / "subscriptions.yaml"
        subscriptions.write_text('version: 1\nsubscriptions: [{name: audit, on: "#", log: {}}]\n')

        closed = check(subscriptions, Catalogues.shipped(), settings_of(file)).faults
        os.chown(file, 0, NOBODY.pw_gid)
        opened = check(subscriptions, Catalogues.shipped(), settings_of(file)).faults

    assert [(each.field, each.message.partition(":")[0]) for each in closed] == [
        ("router.broker.password_file", f"the user nobody may not read {file}"),
        ("router.state", f"the user nobody may not read {file}"),
    ]
    assert opened == ()


@pytest.mark.parametrize("user", ["nobody", "no-such-user"])
def test_a_file_or_user_that_this_machine_lacks_is_of_another_machine(tmp_path: Path, user: str) -> None:
    missing = tmp_path / "none" if user == "nobody" else Path("/etc/hostname")

    assert program_logins.unreadable(settings_of(missing, user), "router") == []
