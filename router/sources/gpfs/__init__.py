"""IBM Storage Scale (GPFS) as a source."""
