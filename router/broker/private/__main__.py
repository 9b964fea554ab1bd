"""`python -m router.broker.private [PACKAGE ...]`: see to it that there is something to make a broker of.

Installs `rabbitmq-server` through apt where neither a container nor the package is to be had, and each PACKAGE (another
Debian package, named like its command) whose command is missing.  Prints one line for what will be used; ends with 3
and one line where that is nothing.
"""

import logging
import os
import shutil
import sys

from ... import logs
from ...errors import RouterError
from .finding import URL, find
from .machine import Machine, install_packages


def main(wanted: list[str]) -> int:
    """See to it; return the exit code."""
    logs.configure(json=False)
    try:
        broker = find(os.environ.get(URL))
        lacking = [package for package in wanted if shutil.which(package) is None]
        if lacking and Machine().may_install():
            logging.getLogger(__name__).info("installing packages", extra={"packages": lacking})
            install_packages(*lacking)
    except RouterError as error:
        print(error, file=sys.stderr)
        return 3
    print(f"broker: {broker.description}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
