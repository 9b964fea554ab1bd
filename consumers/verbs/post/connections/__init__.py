"""Connections of webhooks: certificates, proxies, tokens, and a deadline for each call."""
