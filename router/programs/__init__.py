"""What our long-running programs share: signals, notifications to systemd, and what they know of their own health."""
