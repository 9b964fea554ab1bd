"""What the history, the stream of all events, says of other queues."""
