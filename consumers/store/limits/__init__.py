"""What limits over all consumers remember."""
