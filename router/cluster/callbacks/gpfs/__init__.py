"""Registers callbacks with GPFS by mmaddcallback."""
