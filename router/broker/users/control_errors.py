"""What rabbitmqctl prints when it fails, reduced to its cause."""

from __future__ import annotations

_ASIDES = ("* suggestion", "* node name", "* effective user", "* Erlang cookie hash")
"""Lines in rabbitmqctl's diagnostics that do not give a cause."""

_LINE = 300


def error_of(output: str) -> str:
    r"""Return the cause of failure in the *output* of rabbitmqctl, on one line.

    >>> error_of("Error: unable to perform an operation on node 'rabbit@mq1'. Please see diagnostics information\n\n"
    ...     "attempted to contact: [rabbit@mq1]\n\nrabbit@mq1:\n  * connected to epmd (port 4369) on mq1\n"
    ...     "  * epmd reports: node 'rabbit' not running at all\n  * suggestion: start the node\n")
    "unable to perform an operation on node 'rabbit@mq1': epmd reports: node 'rabbit' not running at all"
    >>> error_of("Error:\nExchange nope does not exist\n")
    'Exchange nope does not exist'
    >>> error_of("Usage\n\n\nOnly root or rabbitmq should run rabbitmqctl\n\n")
    'Only root or rabbitmq should run rabbitmqctl'
    >>> error_of("")
    'it printed nothing'
    """
    before, _, diagnostics = output.partition("attempted to contact")
    lines = [line.strip() for line in before.split("\n") if line.strip()]
    marked = [at for at, line in enumerate(lines) if line.startswith(("Error", "Only root"))]
    text = "\n".join(lines[marked[0] :] if marked else lines[-1:]).removeprefix("Error:").strip()
    sentence = text.partition("\n")[0].partition(". Please see")[0] or "it printed nothing"
    found = [line.strip() for line in diagnostics.split("\n") if line.strip().startswith("* ")]
    causes = [line.removeprefix("* ") for line in found if not line.startswith(_ASIDES)]
    return ": ".join([sentence, *causes[-1:]])[:_LINE]
