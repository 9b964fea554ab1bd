"""A RabbitMQ of our own, that goes when we go: for the demo, for `clusterbus up`, and for tests.

    with find(os.environ.get("CLUSTERBUS_BROKER"), folder=state / "broker") as broker:
        connect(broker.url)

A broker that is somebody else's is never started, stopped or changed (`broker.ours` is False), and a machine's own
rabbitmq-server service is never touched.
"""

from .broker import PrivateBroker
from .container import PrivateContainer
from .finding import GivenBroker, find
from .node import PrivateNode

__all__ = ["GivenBroker", "PrivateBroker", "PrivateContainer", "PrivateNode", "find"]
