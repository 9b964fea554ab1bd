"""The verb `run`: runs a command, here, on nodes, or detached."""
