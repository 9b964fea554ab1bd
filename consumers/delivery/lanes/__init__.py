"""Lanes in memory: what is asked about together because it waits for the same earlier delivery."""
