"""Runs mm commands and reads their `-Y` tables."""
