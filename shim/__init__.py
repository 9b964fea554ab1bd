"""What clusterbus runs on every node: capture, the relay, and the installer of both."""
