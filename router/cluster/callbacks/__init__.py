"""Registers callbacks with each source: plan, apply, status."""
