"""`clusterbus init`: the facts about a new site, the files that follow from them, and writing these."""
