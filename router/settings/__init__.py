"""Settings: their models, the layers that they are loaded from, and references to secrets."""
