"""The mm commands of a simulated cluster: each takes its arguments and returns its output.

A command returns what it prints on stdout, and passes messages for people to *say* (stderr, recalled).  It raises
CommandRefused; that the exit code is then 1 and the usage follows is recalled too.
"""

from .callback_commands import CALLBACK_COMMANDS
from .command_words import Command
from .file_system_commands import FILE_SYSTEM_COMMANDS
from .maintenance_commands import MAINTENANCE_COMMANDS
from .node_commands import MEMBER_COMMANDS
from .quota_commands import QUOTA_COMMANDS
from .snapshot_commands import SNAPSHOT_COMMANDS

COMMANDS: dict[str, tuple[Command, str]] = {
    **CALLBACK_COMMANDS,
    **MEMBER_COMMANDS,
    **FILE_SYSTEM_COMMANDS,
    **QUOTA_COMMANDS,
    **SNAPSHOT_COMMANDS,
    **MAINTENANCE_COMMANDS,
}
"""Each command and its usage, by name."""
