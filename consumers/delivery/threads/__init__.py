"""Threads of a subscription beside those that call its handler."""
