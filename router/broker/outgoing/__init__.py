"""Messages that are published and not settled: in which order, in which parts, and what queues of others refuse."""
