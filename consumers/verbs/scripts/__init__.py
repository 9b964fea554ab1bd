"""The verb `scripts`: runs the programs of a folder."""
