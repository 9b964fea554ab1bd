"""The process of one isolated call: `python -m consumers.verbs.call.isolated_child`; the request is on stdin."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from router.model.events import Event

from ...config import python_files
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...folds import Fold
from . import results
from .arguments import Arguments
from .function_handler import called
from .references import Unusable, find


def main() -> None:
    """Call the function, write the outcome to the descriptor named in the request, and exit."""
    own = os.getpid()
    request = json.loads(sys.stdin.buffer.read())
    _settle_in(request["outcome"])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if request["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], limits[1]))
    wire = _outcome(request)
    if os.getpid() == own:
        # The memory limit is for the function, not for writing the outcome.
        resource.setrlimit(resource.RLIMIT_AS, limits)
        _write(request["outcome"], json.dumps(wire).encode())
    # Do not wait for threads of the function, and do not run its exit handlers.
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)


def _settle_in(outcome: int) -> None:
    # Child processes of the function inherit neither the import path nor the descriptor; standard input is empty.
    os.environ.pop("PYTHONPATH", None)
    os.set_inheritable(outcome, False)  # noqa: FBT003 - the function takes no keyword
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is needed
        os.dup2(nothing.fileno(), 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()


def _outcome(request: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return results.to_wire(_call(request))
    except Rejected as error:
        return {"rejected": str(error), "result": dict(error.result)}
    except Unusable as error:
        # The function existed when the consumer started, so another attempt may find it again.
        return results.to_wire(Report("Unusable", str(error)))
    except BaseException as error:  # noqa: BLE001 - every error becomes the outcome
        return results.to_wire(results.failed(error))


def _call(request: Mapping[str, Any]) -> Report:
    event = Event.from_json(request["event"].encode())
    folded = Fold.restored(request["folded"]) if request["folded"] else None
    delivery = Delivery(
        event,
        request["subscription"],
        request["topic"],
        request["event"].encode(),
        attempt=request["attempt"],
        folded=folded,
        facts=request["facts"],
        meta=request["meta"],
    )
    folders, digest = [Path(each) for each in request["folders"]], None
    if request["source"] is not None:
        python_files.put_on_path(folders)
        file, content = request["function"].rpartition(":")[0], request["source"].encode("latin-1")
        python_files.execute(file, content)
        digest = python_files.digest(file, content)
    target = find(request["function"], folders, digest)
    arguments = Arguments(target, request["fixed"], request["parms"], joined=request["joined"])
    return called(target.make(), arguments, delivery)


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


if __name__ == "__main__":
    main()
