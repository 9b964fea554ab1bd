"""Commands one after another, with clean-up that always runs.

`sequence` decides what comes next, without any effect.  `journal` keeps on disk what began and ended, and
`steps_program` is the process that runs the steps: whoever finds its job without it starts it again, and it cleans up.
"""
