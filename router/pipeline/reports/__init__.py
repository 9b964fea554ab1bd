"""What the router reports itself, and how much of it: limits on findings, rejections and kept bodies."""
