"""Bounded child processes, cleaning up after them, and detached jobs.

A job is a folder. Its wrapper, a process in its own session, runs the command and writes the result into the folder,
where any later consumer finds it. The modules that the wrapper imports are small, because one wrapper runs per job.
"""
