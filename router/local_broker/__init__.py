"""A private RabbitMQ that ends with the process that started it: for the demo, for `clusterbus up`, and for tests.

    with find(os.environ.get("CLUSTERBUS_BROKER"), folder=state / "broker") as broker:
        connect(broker.url)

A broker that belongs to somebody else is never started, stopped or changed, and the machine's own rabbitmq-server
service is never touched.
"""

from .choose import GivenBroker, find
from .private_broker import PrivateBroker
from .rabbitmq_container import PrivateContainer
from .rabbitmq_node import PrivateNode

__all__ = ["GivenBroker", "PrivateBroker", "PrivateContainer", "PrivateNode", "find"]
