"""What becomes of alerts with each thing that is observed of them: states, groups, suppression, changes to tell."""
