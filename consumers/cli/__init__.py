"""The commands for subscriptions and deliveries; a module for each command group."""
