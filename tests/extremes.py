"""Extreme values for fuzzing: scalars, trees, bytes, headers of messages, events and texts that are nearly right."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tests.consuming import make_event

TIMES = [
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T12:00:00Z",
    "0001-01-01T13:00:00Z",
    "2026-11-20T15:22:07.980656123Z",
]
VALUES = [
    *(0, -1, 2**31, 2**63 - 1, -(2**63), 0.0, 1e308, -1e308, 5e-324, None, ""),
    *("\x01\x1b[31m", "\u202e\u2028", "{{ 7 * 7 }}", "-rf", "@all", "n[1-100000000]", "%s%n", "\U0001f600" * 50),
    *([], ["a"], [""], ["n1"] * 2000, "x" * 1_000_000),
]
"""Values that the data of an event may have."""

EVENTS = st.builds(
    lambda time, data: make_event(time=time, **data),
    st.sampled_from(TIMES),
    st.fixed_dictionaries({"a": st.sampled_from(VALUES), "b": st.sampled_from(VALUES)}),
)

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", "\0", "\ud800", "\x1b]8;;http://x\x07", "../../etc/passwd", "x" * 20_000, "\u202e", "NaN"]),
)
SCALARS = st.one_of(
    TEXTS,
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from([2**63, -(2**63) - 1, 10**300, sys.float_info.max, "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=12,
)

DEEP = (b"[" * 3_000, b'{"a":' * 3_000)


def mutated(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Return the JSON of *valid* with a few of its fields replaced or left out, or of any tree, or any bytes."""

    def changed(changes: dict[str, Any], gone: set[str]) -> bytes:
        return _json({name: each for name, each in {**valid, **changes}.items() if name not in gone})

    names = st.sampled_from(sorted(valid)) | TEXTS
    nearly = st.builds(
        changed, st.dictionaries(names, TREES, max_size=3), st.sets(st.sampled_from(sorted(valid)), max_size=1)
    )
    return st.one_of(nearly, nearly, TREES.map(_json), st.binary(max_size=200), st.sampled_from(DEEP))


def _json(tree: object) -> bytes:
    return json.dumps(tree).encode()


EVENT_BODIES = mutated(json.loads(make_event().to_json()))

OUR_HEADERS = (
    "subscription",
    "attempt",
    "topic",
    "replay",
    "reason",
    "renewals",
    "claimed-key",
    "origin-user",
    "cut",
    "published-at",
)
BROKERS_HEADERS = (
    "x-death",
    "x-delivery-count",
    "x-first-death-queue",
    "CC",
    "BCC",
    "traceparent",
    "epoch",
    "sequence",
    "v",
)
HEADERS = st.dictionaries(
    st.sampled_from([*OUR_HEADERS, *BROKERS_HEADERS]) | TEXTS,
    st.one_of(
        TREES,
        st.binary(max_size=30),
        st.just("x" * 70_000),
        st.just(datetime(1970, 1, 1, tzinfo=UTC)),
        st.lists(st.dictionaries(st.sampled_from(["reason", "queue", "count"]), SCALARS), max_size=2),
    ),
    max_size=6,
)
"""Headers of a message, of all kinds that AMQP can bring."""

LINES = st.lists(
    st.one_of(
        TEXTS,
        st.sampled_from(
            [
                "mmlscluster:clusterSummary:HEADER:version:reserved:reserved:clusterName:clusterId:",
                "mmlscluster:clusterNode:HEADER:version:reserved:reserved:nodeNumber:daemonNodeName:ipAddress:",
                "mmlscluster:clusterNode:0:1:::%ZZ:n1%3A%00:10.0.0.1:",
                "mmgetstate:cluster:HEADER:version:reserved:reserved:nodeName:state:quorum:nodesUp:totalNodes:",
                "mmgetstate:cluster:0:1:::n1:active:-1:99999999999999999999:x:",
                "a:b:HEADER",
                "a:b:0:1",
                "version: 1",
                "subscriptions:",
                "  - {name: a, on: '#', log: {}}",
                "  - name: &a [*a]",
                "- !!python/object:os.system x",
                "[relay]",
                "broker = amqp://u:p@h:99999/%zz",
                "softQuotaExceeded: a b c",
                "* : /bin/true",
            ]
        ),
    ),
    max_size=8,
).map("\n".join)
"""Lines of files and of printed tables."""
