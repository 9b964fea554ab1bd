"""Commands on webhooks: keys that sign the calls of `post`."""
