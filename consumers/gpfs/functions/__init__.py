"""Python functions as callbacks, stored as source next to a subscription."""
