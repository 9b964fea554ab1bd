"""A stand-in for a Qube supervisor, on Python 2.7 and 3.6 or later: runs what callbacks.conf maps a trigger to, inside.

    qube_supervisor.py FOLDER WAY:BEHAVIOUR:TRIGGER ...

WAY is how code is run, which the vendor does not document: `one` namespace or `split` ones with `qb` to be imported, or
`bound`, `bound-split` with `qb` there already and nothing to import.  BEHAVIOUR is what the stub of `qb` does.  A line
of JSON is printed for each callback that was run; the last line is `alive`.
"""
# ruff: noqa: UP004, UP010, UP018, UP020, PTH109, PTH118, PTH208 - Python 2.7 runs this too

from __future__ import unicode_literals

import io
import json
import os
import sys
import threading
import time
import types

JOB = {
    "id": 19294,
    "name": "shot_010 --user gr\u00fcn \U0001f600",
    "status": "failed",
    "user": "ann",
    "pgrp": 19294,
    "pid": 0,
    "label": "",
    "prototype": "cmdrange",
    "priority": 9999,
    "cluster": "/",
    "account": None,
    "cpus": 12,
    "hosts": "render01,render02",
    "groups": "",
    "package": {"password": "secret"},
}
# As a job's owner may call it: text of the callback's own interpreter, bytes of none, what breaks lines and quotes.
HOSTILE = dict(
    JOB,
    name=b"caf\xe9 \"'\\\n\r\t\xed\xa0\x80%s {{ 1 }} @SPOOL@",
    user="--id",
    label="\u2028\x1b[2J\x7f",
    account="nul\0here",
    cpus="07",
    hosts=["a", "b c"],
    priority=10**30,
)


class Broken(object):
    def __getitem__(self, name):
        sys.exit(9)


class Unspeakable(object):
    def __str__(self):
        raise ValueError("no words")

    __repr__ = __str__


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError("no words")

    __repr__ = __str__


class Circle(list):
    def __init__(self):
        self.append(self)


def stub(behaviour):
    """Return a module qb with the two functions that callbacks have, which do as *behaviour* says."""
    jobs = {
        "hostile": HOSTILE,
        "broken": Broken(),
        "unspeakable": dict(JOB, name=Unspeakable()),
        "circle": dict(JOB, name=Circle()),
        "huge": dict(JOB, name="x" * 3000000),
        "bare": {"id": 19294},
    }

    def jobid():
        if behaviour == "exits":
            sys.exit(3)
        if behaviour == "interrupted":
            raise KeyboardInterrupt
        if behaviour == "speechless":
            raise UnspeakableError
        return 19294

    def jobinfo(flag, number):
        if (flag, number) != ("-id", 19294):
            raise TypeError("not as callbacks may call it")
        if behaviour == "raises":
            raise RuntimeError("no such job")
        return [] if behaviour == "empty" else [jobs.get(behaviour, JOB)]

    module = types.ModuleType(str("qb"))
    module.jobid, module.jobinfo = jobid, jobinfo
    return module


def mapping(folder):
    """Return the files by trigger, as callbacks.conf in *folder* says, by the syntax that is documented."""
    files = {}
    with io.open(os.path.join(folder, "callbacks.conf"), encoding="latin-1") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                name, _, trigger = line.partition("=")
                files.setdefault(trigger.strip(), []).append(name.strip())
    return files


def run(path, way, behaviour):
    """Run the file at *path*; return what came out of it, or None."""
    with io.open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    sys.modules.pop("qb", None)
    outer = {"__name__": "callback", "__builtins__": __builtins__}
    inner = {} if way.endswith("split") else outer
    if behaviour == "absent":
        pass
    elif way.startswith("bound"):
        inner["qb"] = stub(behaviour)
    else:
        sys.modules["qb"] = stub(behaviour)
    try:
        exec(code, outer, inner)
    except:  # noqa: E722 - this is what would kill the supervisor
        return repr(sys.exc_info()[0])
    return None


def state():
    """Return what a callback must leave as it was."""
    umask = os.umask(0)
    os.umask(umask)
    return [umask, os.getcwd(), threading.active_count(), sorted(os.listdir("/proc/self/fd")), dict(os.environ)]


def main(words):
    """Fire what *words* say."""
    folder, firings = words[0], words[1:]
    files = mapping(folder)
    for firing in firings:
        way, behaviour, trigger = firing.split(":", 2)
        for name in files.get(trigger, []):
            before, began = state(), time.time()
            escaped = run(os.path.join(folder, name), way, behaviour)
            taken = time.time() - began
            said = {"file": name, "escaped": escaped, "same": state() == before, "seconds": taken}
            print(json.dumps(said))
    print("alive")


if __name__ == "__main__":
    main(sys.argv[1:])
