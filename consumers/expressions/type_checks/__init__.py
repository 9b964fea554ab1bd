"""Finds conditions that are the same for every event, from the types of what a filter reads."""
