"""The command `clusterbus init`."""
