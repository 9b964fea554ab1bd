"""Gates: what stands between a delivery that is due and its handler."""
