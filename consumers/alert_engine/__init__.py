"""The engine of alerts: reads the events that open and close them, keeps them in the store, publishes their changes."""
