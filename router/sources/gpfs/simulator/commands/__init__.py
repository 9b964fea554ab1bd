"""The mm commands on a simulated cluster: each takes its words and says what it prints.

A command returns what goes to stdout; what it says to people beside that goes to *say* (stderr, recalled).  Refusals
are raised as CommandRefused; that the exit code is then 1 and the usage follows is recalled too.
"""

from .callbacks import CALLBACK_COMMANDS, mmaddcallback, mmdelcallback, mmlscallback
from .file_systems import FILE_SYSTEM_COMMANDS
from .members import MEMBER_COMMANDS
from .quotas import QUOTA_COMMANDS
from .snapshots import SNAPSHOT_COMMANDS
from .words import Command, Say

COMMANDS: dict[str, tuple[Command, str]] = {
    **CALLBACK_COMMANDS,
    **MEMBER_COMMANDS,
    **FILE_SYSTEM_COMMANDS,
    **QUOTA_COMMANDS,
    **SNAPSHOT_COMMANDS,
}
"""Each command and its usage, by its name."""

__all__ = ["COMMANDS", "Command", "Say", "mmaddcallback", "mmdelcallback", "mmlscallback"]
