"""The router itself: authenticate, decode, deduplicate, detect gaps, publish, acknowledge; and its state."""
