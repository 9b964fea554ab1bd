"""Rules of alerts in subscription files: what is written, whether it is right, and its tests on a simulated clock."""
