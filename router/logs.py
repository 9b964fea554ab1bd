"""How our programs log: a fixed sentence, and the facts beside it.

Modules log with the standard library, `log.warning("sentence", extra={...})`; here, and only here, it is decided what
becomes of that: lines for people on a terminal, JSON for collectors elsewhere.
"""

import logging
import sys

import structlog

_NOISY = ("pika",)


def configure(*, json: bool | None = None, level: str = "INFO") -> None:
    """Send all logging to stderr: as JSON lines where *json*, by default where stderr is no terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(sort_keys=False, default=str)]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        # pika logs each step of each connection attempt; what matters of it is logged by us, once.
        logging.getLogger(name).setLevel(logging.CRITICAL)
