"""What is wrong now, what waits, and who was told: the readings behind `clusterbus status`."""
