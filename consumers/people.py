"""Who is at the keyboard, as far as the system knows: it is written beside what people decide."""

import getpass


def who() -> str:
    """Return the user's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
