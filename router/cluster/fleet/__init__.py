"""Runs one command on many nodes, through ClusterShell."""
