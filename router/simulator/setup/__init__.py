"""Creates a simulated cluster: its nodes and file systems, and looks up its nodes."""
