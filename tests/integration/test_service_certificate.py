"""A service that logs in with a client certificate: there is no password, and another certificate opens nothing."""

import urllib.parse
from collections.abc import Callable, Iterator

import pytest

from clusterbus import events
from router.broker.session import Session
from router.broker.topology import base
from router.errors import Refused
from tests.consuming import make_event, publish
from tests.rabbit import RabbitAdmin, Tap
from tests.secure_broker import Authority, secure_broker
from tests.service_site import ServiceSite

TICKETS = {"name": "tickets", "on": ["#"], "login": "certificate"}
VHOST = "test-tls"
USER, OTHER = "tls-svc-tickets", "tls-svc-other"


@pytest.fixture
def site(tmp_path, require: Callable[[str], str]) -> Iterator[tuple[ServiceSite, Callable[[str], str]]]:
    """A site at a broker with TLS, and a function that gives the URL for who has a certificate."""
    authority = Authority(tmp_path / "ca", require("openssl"))
    for name in ("broker", USER, OTHER):
        authority.issue(name)
    with secure_broker(authority) as (node, port):
        admin = RabbitAdmin(node.http_url)
        admin.add_vhost(VHOST)
        address = urllib.parse.urlsplit(node.url)._replace(path=f"/{VHOST}").geturl()
        with Session(address, name="setup") as session:
            session.declare(base())
        parts = urllib.parse.urlsplit(node.http_url)
        password = tmp_path / "administrator"
        password.write_text(f"{urllib.parse.unquote(parts.password or '')}\n")
        password.chmod(0o600)
        tap = Tap(address)
        site = ServiceSite(tmp_path, address, VHOST, admin, tap)
        management = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
        site.write_settings(management, password)

        def url(name: str) -> str:
            files = {"cacertfile": "ca.pem", "certfile": f"{name}.pem", "keyfile": f"{name}.key"}
            options = urllib.parse.urlencode({key: authority.path(file) for key, file in files.items()})
            return f"amqps://127.0.0.1:{port}/{VHOST}?auth_mechanism=external&{options}"

        yield site, url
        tap.close()


@pytest.mark.long
def test_the_certificate_is_enough_and_another_opens_nothing(site):
    site, url = site
    site.define(TICKETS)
    site.run("apply")
    event = make_event()
    publish(site.url, [event])

    for each in events(service="tickets", url=url(USER)):
        assert each == event
        break

    assert not [*site.folder.glob("secrets/*/password")]
    with pytest.raises(Refused):
        next(iter(events(service="tickets", url=url(OTHER))))
