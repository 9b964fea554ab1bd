"""Qube! as a source: a supervisor of a render farm runs universal callbacks, which are files that we write."""
