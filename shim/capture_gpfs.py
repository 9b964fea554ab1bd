#!/usr/bin/python3 -IS
"""The command of GPFS callbacks: runs the capture in the same folder, with the source ``gpfs``.

Python compiles a script at every start, but a module only once.  So this script is short and imports ``capture``,
which saves a third of the time of a call.  Installed as ``/usr/libexec/clusterbus/capture-gpfs``, next to
``capture.py``.
"""

import sys

HERE = __file__.rpartition("/")[0]
OPTIONS = []  # type: list[str]  # options of capture on this node, such as ["--node", "nsd01"]

if __name__ == "__main__":
    # Not an import: to search for the file would take as long as to load it.  The loader is that of this script.
    capture = type(sys)("capture")
    try:
        code = type(__loader__)("capture", HERE + "/capture.py").get_code("capture")  # type: ignore[name-defined]
    except Exception:  # noqa: BLE001 - a power cut can leave broken bytecode; the source is still good
        with open(HERE + "/capture.py") as source:  # noqa: PTH123 - pathlib takes longer to import than all the work here
            code = compile(source.read(), "capture", "exec")
    exec(code, capture.__dict__)  # noqa: S102 - our own file, owned by root
    capture.main([*OPTIONS, "gpfs", *sys.argv[1:]])
