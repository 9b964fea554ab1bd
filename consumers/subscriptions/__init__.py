"""Subscriptions: their models, and the checks of their files."""
