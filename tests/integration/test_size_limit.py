"""How large messages may be at the broker: what we say of it is what it does."""

from collections.abc import Callable

import pytest

from router.broker.session import Session
from router.broker.size_limit import SETTING, wrong_limit
from router.broker.topology import base
from router.local_broker.private_broker import PrivateBroker
from tests.operating import invoke

MakeBroker = Callable[..., PrivateBroker]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ([SETTING], None),
        (["max_message_size = 65536"], "refuses messages of 2097152 bytes"),
        (["max_message_size = 16777216"], "takes messages of more than 2097152 bytes"),
    ],
)
def test_the_limit_is_found_by_trying(make_broker: MakeBroker, config: list[str], wrong: str | None) -> None:
    url = make_broker(config=config).url
    with Session(url, name="test") as session:
        session.declare(base())
        found = wrong_limit(session)
    _, said = invoke({"CLUSTERBUS_BROKER": url}, "broker", "setup")

    assert (wrong or "None") in str(found)
    assert (SETTING in said) is bool(wrong)
