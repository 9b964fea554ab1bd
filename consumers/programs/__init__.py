"""The long-running programs: consume, up, and the demo."""
