"""What programs measure of themselves, and the HTTP server that shows it to Prometheus and to health checks.

Only `exposition` imports prometheus-client, and only programs whose `metrics` is set import that.
"""
