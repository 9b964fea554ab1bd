"""The gates of limits that are counted over all consumers."""
