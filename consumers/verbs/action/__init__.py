"""The verb `action`: runs an action of the catalogue, whose parameters are read from the event."""
