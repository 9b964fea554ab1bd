"""The commands for router, cluster and broker; a module for each command group."""
