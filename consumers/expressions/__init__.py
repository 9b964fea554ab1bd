"""CEL filters and Jinja templates over an event and the facts of its cluster."""
