"""What is wrong now, what waits, and who was notified: the readings behind `clusterbus status`."""
