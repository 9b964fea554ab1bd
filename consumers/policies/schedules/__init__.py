"""When deliveries are due that wait, or that no event causes."""
