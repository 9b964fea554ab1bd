"""What others may know of our messages in advance: the JSON Schema of events, and AsyncAPI documents."""
