"""What filters and templates read beside the event itself, and how values are written for people."""
