"""Broker users with the least rights: which users are wanted, how the broker differs, and how to change it."""
