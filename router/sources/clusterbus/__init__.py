"""clusterbus itself as a source: the events of relays, router and consumers."""
