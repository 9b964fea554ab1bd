"""What the commands of a fan-out read: a content of many megabytes is held once, and never copied."""

import base64

from ClusterShell.NodeSet import NodeSet

from router.cluster.fleet.fanout_program import NodesWorker


def worker(shared, **own):
    given = {"shared": base64.b64encode(shared).decode()}
    given |= {"nodes": {name: base64.b64encode(each).decode() for name, each in own.items()}}
    limits = {"timeout": 1, "grace": 1, "connect_timeout": 1}
    return NodesWorker({**limits, "transport": "local", "input": given}, NodeSet("n[1-3]"), None, "")


def test_nodes_share_one_content_and_no_rest_of_it_is_a_copy():
    one, two = (worker.input_of(name) for worker in [worker(b"content")] for name in ("n1", "n2"))

    # ClusterShell cuts off what it has written, after each write.
    assert (bytes(one), bytes(one[3:])) == (b"content", b"tent")
    assert one.obj is two.obj is one[3:].obj


def test_what_a_node_has_of_its_own_follows():
    assert bytes(worker(b"content", n2=b", own").input_of("n2")) == b"content, own"
