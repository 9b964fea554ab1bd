"""The command `clusterbus schema`."""
