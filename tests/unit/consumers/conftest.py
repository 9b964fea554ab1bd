"""What unit tests of consumers share: a store in a file of its own, and an engine over a broker in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.store import Store
from tests.engines import Bench


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that is empty."""
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield store


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An engine that is not started yet."""
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()
