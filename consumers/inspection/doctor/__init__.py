"""What `clusterbus doctor` and `clusterbus status` check, a module for each thing that is asked."""
