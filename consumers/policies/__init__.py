"""Retry, grouping, rates, guards and circuit breakers: arithmetic without clock or store."""
