"""What is kept of alerts: their keys, what was observed of them, their lives, and the changes that are published."""
