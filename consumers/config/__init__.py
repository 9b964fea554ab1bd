"""What an operator writes: subscription files in YAML and Python, field types, event selectors, secrets."""
