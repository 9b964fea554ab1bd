"""Secrets by reference: read when needed, named by their reference, never shown."""

import os

import pytest

from consumers.config import secrets
from consumers.errors import Rejected, SecretError
from router import redaction
from router.errors import SettingsError
from router.settings.loading import load
from router.settings.models import Contact, Settings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("hunter 22\n")
    path.chmod(0o640)
    return path


def test_a_secret_is_what_its_file_holds_when_it_is_read(file):
    assert secrets.read(f"file:{file}") == "hunter 22"
    file.write_text("changed")
    assert secrets.read(f"file:{file}") == "changed"


def test_a_secret_may_be_a_variable_of_the_environment():
    assert secrets.read("env:MAIL", {"MAIL": "x"}) == "x"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"a\nb", "one line"), (b"a\0b", "one line"), (b"\xff", "UTF-8")],
)
def test_what_is_no_secret_is_refused_by_its_reference(file, content, message):
    file.write_bytes(content)

    with pytest.raises(SecretError, match=message) as caught:
        secrets.read(f"file:{file}")

    assert f"file:{file}" in str(caught.value)


def test_what_is_not_there_is_refused_and_no_fifo_is_waited_for(tmp_path, file):
    os.mkfifo(tmp_path / "fifo")
    for path in ("gone", "fifo", "", "secret/below"):
        with pytest.raises(SecretError, match="file:"):
            secrets.read(f"file:{tmp_path}/{path}".rstrip("/"))
    with pytest.raises(SecretError, match="env:GONE"):
        secrets.read("env:GONE", {})
    file.write_bytes(b"x" * 70_000)
    with pytest.raises(SecretError, match="larger than"):
        secrets.read(f"file:{file}")


def test_what_is_no_reference_is_refused_without_being_repeated():
    with pytest.raises(SecretError) as caught:
        secrets.read("hunter22")

    assert "hunter22" not in str(caught.value)
    assert isinstance(caught.value, Rejected)


def test_a_check_doubts_what_anybody_can_read(file):
    assert secrets.problem(f"file:{file}") == ""
    file.chmod(0o644)
    assert "all users can read it (mode 0644)" in secrets.problem(f"file:{file}")
    file.chmod(0o602)
    assert "is writable by other users" in secrets.problem(f"file:{file}")
    file.unlink()
    assert "No such file" in secrets.problem(f"file:{file}")


def test_no_part_of_an_address_is_left_but_its_host():
    url = "https://bob:s3cr3t@hooks.example.com:8443/T0/B0/tok%2Fen?key=abcd&x=1"
    text = f"403 from hooks.example.com for bob:s3cr3t, /T0/B0/tok/en, key abcd ({url})"

    shown = redaction.scrubbed(text, redaction.parts(url))

    assert not [each for each in ("s3cr3t", "tok/en", "tok%2Fen", "abcd") if each in shown]
    assert "403 from hooks.example.com" in shown


def test_an_address_of_a_service_without_hosts_is_hidden_whole():
    assert (
        redaction.scrubbed("no TokenA in slack://TokenA/TokenB", redaction.parts("slack://TokenA/TokenB"))
        == "no *** in ***"
    )


@pytest.mark.parametrize(
    "url",
    ["file:/etc/clusterbus/secrets/mail", "env:MAIL", "mailto://mail.example.com?from=a@b.org&to=c@d.org", "syslog://"],
)
def test_an_address_without_a_secret_may_stand_in_the_settings(url):
    assert Contact(urls=url).urls == (url,)


@pytest.mark.parametrize(
    "url",
    [
        "mailto://user:hunter22@example.com",
        "mailto://hunter22@example.com",
        "mailtos://example.com?pass=hunter22",
        "slack://hunter22/b/c",
        "json://example.com/hunter22",
        "hunter22",
        "file:hunter22",
        "env:hunter-22",
        "://[hunter22",
    ],
)
def test_a_secret_in_the_settings_is_refused_and_not_repeated(tmp_path, url):
    file = tmp_path / "clusterbus.yaml"
    file.write_text(f"consumers: {{contacts: {{team: {{urls: ['{url}']}}}}}}")

    with pytest.raises(SettingsError, match=r"consumers\.contacts\.team\.urls\.1") as caught:
        load(file, environment={}, system=tmp_path / "none")

    assert "hunter" not in str(caught.value)
    assert "file:/" in str(caught.value)


def test_an_unknown_field_of_a_contact_names_the_nearest(tmp_path):
    file = tmp_path / "clusterbus.yaml"
    file.write_text("consumers: {contacts: {team: {urls: 'env:A', fromat: html}}}")

    with pytest.raises(
        SettingsError, match=r"consumers\.contacts\.team\.fromat: unknown setting; did you mean format\?"
    ):
        load(file, environment={}, system=tmp_path / "none")


def test_contacts_are_listed_by_name_alone(tmp_path):
    file = tmp_path / "clusterbus.yaml"
    file.write_text("consumers: {contacts: {team: {urls: 'env:A'}, boss: {urls: 'env:B'}}}")

    rows = {name: value for name, value, _ in load(file, environment={}, system=tmp_path / "none").rows()}

    assert rows["consumers.contacts"] == "boss team"
    assert Settings().consumers.contacts == {}
