"""Builds the packages, deb and rpm: `clusterbus-node` for nodes, `clusterbus` for hubs and management hosts.

A tool of the build, which is no part of what it builds.
"""
