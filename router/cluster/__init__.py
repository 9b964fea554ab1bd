"""The GPFS cluster: its nodes, its mm commands, the shim on the nodes, callbacks, and facts."""
