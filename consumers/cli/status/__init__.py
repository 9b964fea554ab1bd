"""The command `clusterbus status`."""
