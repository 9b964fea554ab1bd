"""The commands of `clusterbus broker`, a module for each."""
