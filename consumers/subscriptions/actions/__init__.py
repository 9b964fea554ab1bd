"""The catalogue of actions: those that are shipped, and those in the files of this site."""
