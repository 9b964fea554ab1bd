"""Alerts: what opens and closes them, and what they become with each event.  Pure: no clock, no store, no broker."""
