"""What the records of each source mean: a catalogue and a decoder for each source, nothing else."""
