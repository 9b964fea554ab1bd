#!/usr/bin/python3 -IS
"""What GPFS's callbacks run: capture beside this file, with the source ``gpfs``.

Python compiles a script at every start and a module once, so this is short and ``capture`` is imported: that saves a
third of the time of a call.  Installed as ``/usr/libexec/clusterbus/capture-gpfs``, beside ``capture.py``.
"""

import sys

HERE = __file__.rpartition("/")[0]
OPTIONS = []  # type: list[str]  # of capture, for this node; such as ["--node", "nsd01"]

if __name__ == "__main__":
    # Isolated Python looks only into its own library; here everything belongs to root, as this file does.
    sys.path.insert(0, HERE)
    try:
        import capture  # type: ignore[import-not-found]
    except Exception:  # noqa: BLE001 - bytecode that a power cut left half written, say: the source is still good
        capture = type(sys)("capture")
        with open(HERE + "/capture.py") as source:  # noqa: PTH123 - pathlib takes longer than all of this
            exec(compile(source.read(), "capture", "exec"), capture.__dict__)  # noqa: S102 - our own file, of root's
    capture.main([*OPTIONS, "gpfs", *sys.argv[1:]])
