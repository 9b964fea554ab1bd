"""The verb `notify`: sends messages to people, through the services that their contacts name."""
