"""The commands of `clusterbus services`."""
