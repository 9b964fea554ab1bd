"""The commands on the catalogue of actions."""
