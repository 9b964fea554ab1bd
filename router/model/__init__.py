"""The words that everything shares: records, events, event types, topics, durations. Pure values, no I/O."""
