"""Jobs: commands that outlive the consumer that began them.

A job is a folder.  Its wrapper, a process of its own session, runs the command and writes down how it ended; whoever
asks later finds it there.  Modules that the wrapper needs import little: there is one for each job that runs.
"""
