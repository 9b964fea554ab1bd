"""Qube! as a source."""
