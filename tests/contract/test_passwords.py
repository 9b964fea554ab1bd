"""Files of passwords: the router's programs and the relay read the same files by the same rules."""

import os
from pathlib import Path

import pytest

from router import passwords
from router.errors import SettingsError
from shim import connection

READERS = {
    "router": lambda file: passwords.of_file(file, "broker.password_file"),
    "relay": connection._password,
}


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("content", [b"word", b"word\n", b"word\r\n", b"word\nand a note\n"])
def test_the_first_line_is_the_password(read, file, content):
    file.write_bytes(content)

    assert read(file) == "word"


def test_a_blank_in_it_belongs_to_it(read, file):
    file.write_bytes(b" pass word \n")

    assert read(file) == " pass word "


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "is empty"), (b"\nword\n", "is empty"), (b"w" * 1025, "long"), (b"w" * 10_000_000, "long")],
    ids=["nothing", "an empty line", "a long one", "a large file"],
)
def test_what_is_no_password_is_refused_and_not_shown(read, file, content, why):
    file.write_bytes(content)

    with pytest.raises((SettingsError, ValueError), match=why) as caught:
        read(file)

    assert str(file) in str(caught.value)
    assert "www" not in str(caught.value)


def test_one_that_all_users_can_read_is_refused_with_the_way_out(read, file):
    file.write_text("word\n")
    file.chmod(0o644)

    with pytest.raises((SettingsError, ValueError), match=f"readable by all users .*: run chmod o-rwx {file}"):
        read(file)

    file.chmod(0o640)
    assert read(file) == "word"


@pytest.mark.timeout(60)
def test_a_pipe_is_refused_and_never_waited_for(read, file):
    file.unlink()
    os.mkfifo(file, mode=0o600)

    with pytest.raises((SettingsError, ValueError), match="is not a regular file"):
        read(file)


def test_what_is_not_utf_8_is_refused_and_not_shown(read, file):
    # Longer than what a random name of a folder may hold.
    file.write_bytes(b"w\xffrd-of-nobody\n")

    with pytest.raises((SettingsError, ValueError), match="UTF-8") as caught:
        read(file)

    assert "rd-of-nobody" not in str(caught.value)
