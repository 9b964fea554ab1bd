"""Events in the simulated cluster: which nodes see them, what they change, and which programs run for them."""
