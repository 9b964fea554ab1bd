"""How commands reach nodes: through the process of a fan-out, or not at all, when they are only recorded."""
