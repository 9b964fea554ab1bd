"""Registers callbacks with the Qube supervisor, as files in its callback folder."""
