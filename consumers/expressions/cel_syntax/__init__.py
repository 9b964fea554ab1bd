"""Reads CEL expressions into trees, since the library that evaluates them keeps its own to itself."""
