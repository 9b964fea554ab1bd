"""Alerts as they are: from events to changes, through the store; one consumer of all works at it."""
