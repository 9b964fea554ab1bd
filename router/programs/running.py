"""Run a broker client until a signal stops it."""

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..broker.interface import Broker
from .health import Health


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    def leave(*_: object) -> None:
        stop()

    before = {each: signal.signal(each, leave) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run_until_stopped(broker: Broker, stop: Callable[[], None] | None = None, *, health: Health | None = None) -> None:
    """Run *broker*; SIGTERM and SIGINT call *stop*, by default the broker's `stop`, which ends it cleanly.

    Where the program has a *health*, it is looked at meanwhile.
    """

    def leave() -> None:
        if health:
            health.stopping()
        (stop or broker.stop)()

    if health:
        health.start()
    # Objects that exist now live as long as the program: freeze them, so that the collector does not scan all modules.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    with _signals(lambda: broker.call(leave)):
        broker.run()
