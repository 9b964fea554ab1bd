"""Sections of the settings that have more to them than fields."""
