"""Services in a virtual host of a real broker, with the commands that make them."""

import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pika
import typer
from typer.testing import CliRunner

from router.broker.session import Session
from router.broker.topology import base
from router.cli.services.service_commands import services_app
from router.settings.loading import load
from tests.rabbit import RabbitAdmin, SharedBroker, Tap

_OF_A_VHOST = ("queues", "exchanges", "bindings", "permissions", "topic_permissions", "policies")

app = typer.Typer()
app.add_typer(services_app, name="services")


@app.callback()
def root(context: typer.Context, settings: Annotated[Path, typer.Option()]) -> None:
    """Keep the settings for the command that follows."""
    context.obj = load(settings, environment={})


@dataclass
class ServiceSite:
    """A virtual host that is set up, a folder of services, and `clusterbus services` for it."""

    folder: Path
    url: str
    vhost: str
    admin: RabbitAdmin
    tap: Tap

    @property
    def prefix(self) -> str:
        """The prefix of the users of this test."""
        return self.vhost.removeprefix("test-")

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.folder / "clusterbus.yaml"

    def write_settings(self, management: str, password: Path, **sections: Any) -> None:
        """Write the settings; *sections* are added."""
        told = {
            "broker": {
                "url": self.url,
                "prefix": self.prefix,
                "secrets": str(self.folder / "users"),
                "management": management,
                "management_password_file": str(password),
            },
            "services": {"folder": str(self.folder / "services"), "secrets": str(self.folder / "secrets")},
            **sections,
        }
        # JSON is YAML.
        self.settings.write_text(json.dumps(told))

    def define(self, *services: dict[str, Any], file: str = "services.yaml") -> None:
        """Write *services* into one file."""
        folder = self.folder / "services"
        folder.mkdir(exist_ok=True)
        (folder / file).write_text(json.dumps({"version": 1, "services": services}))

    def run(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Run `clusterbus services` with *words*; return its JSON lines."""
        return [json.loads(line) for line in self.text(*words, "--json", code=code).splitlines()]

    def text(self, *words: str, code: int = 0) -> str:
        """Run `clusterbus services` with *words*; return what it prints for people."""
        result = CliRunner().invoke(app, ["--settings", str(self.settings), "services", *words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    def definitions(self) -> dict[str, list[Any]]:
        """Return what the broker has of this test; other tests change the rest meanwhile."""
        found = self.admin.call("GET", "definitions")
        mine = {kind: [each for each in found[kind] if each.get("vhost") == self.vhost] for kind in _OF_A_VHOST}
        return mine | {"users": [each for each in found["users"] if each["name"].startswith(f"{self.prefix}-")]}

    def user(self, service: str) -> str:
        """Return the broker user of *service*."""
        return f"{self.prefix}-svc-{service}"

    def password(self, service: str) -> str:
        """Return the password of *service*."""
        return (self.folder / "secrets" / self.user(service) / "password").read_text().rstrip("\n")

    def url_of(self, service: str) -> str:
        """Return the URL by which *service* connects."""
        parts = urllib.parse.urlsplit(self.url)
        netloc = f"{self.user(service)}:{self.password(service)}@{parts.hostname}:{parts.port}"
        return parts._replace(netloc=netloc).geturl()

    @contextmanager
    def channel(self, service: str) -> Iterator[Any]:
        """Yield a channel of *service*."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url_of(service)))
        try:
            yield connection.channel()
        finally:
            if connection.is_open:
                connection.close()


def service_site(folder: Path, broker: SharedBroker, admin: RabbitAdmin, vhost: str, tap: Tap) -> Iterator[ServiceSite]:
    """Yield a site with the topology declared and no service yet."""
    parts = urllib.parse.urlsplit(broker.http_url)
    password = folder / "administrator"
    password.write_text(f"{urllib.parse.unquote(parts.password or 'guest')}\n")
    password.chmod(0o600)
    management = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
    site = ServiceSite(folder, broker.vhost_url(vhost), vhost, admin, tap)
    site.write_settings(management, password)
    with Session(site.url, name="clusterbus broker setup") as session:
        session.declare(base())
    yield site
    for each in admin.call("GET", "users"):
        if each["name"].startswith(f"{site.prefix}-"):
            admin.delete_user(each["name"])
