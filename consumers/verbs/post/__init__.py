"""The verb `post`: sends events to webhooks."""
