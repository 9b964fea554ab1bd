"""`clusterbus demo`: twelve simulated nodes, a minute of failures, and a final count."""
