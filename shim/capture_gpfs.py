#!/usr/bin/python3 -IS
"""The command of GPFS callbacks: runs the capture in the same folder, with the source ``gpfs``.

Python compiles a script at every start, but a module only once.  So this script is short and loads ``capture`` from
its bytecode, which saves a third of the time of a call.  Installed as ``/usr/libexec/clusterbus/capture-gpfs``, next to
``capture.py``.
"""

import sys

HERE = __file__.rpartition("/")[0]
OPTIONS = []  # type: list[str]  # options of capture on this node, such as ["--node", "nsd01"]

if __name__ == "__main__":
    # Not an import: the search for the file takes as long as a third of what then loads it.
    capture = type(sys)("capture")
    file = HERE + "/capture.py"
    try:
        loader = type(__loader__)("capture", file)  # type: ignore[name-defined]  # that of this script
        exec(loader.get_code("capture"), capture.__dict__)  # noqa: S102 - our own file, owned by root
    except Exception:  # noqa: BLE001 - a power cut can leave broken bytecode; the source is still good
        with open(file) as source:  # noqa: PTH123 - pathlib takes longer to import than all the work here
            exec(compile(source.read(), "capture", "exec"), capture.__dict__)  # noqa: S102 - as above
    capture.main([*OPTIONS, "gpfs", *sys.argv[1:]])
