"""The engine: message, filter, gates, worker, outcome, settlement."""
