"""Scenarios: sequences of events played on a simulated cluster."""
