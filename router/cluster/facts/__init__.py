"""Facts: the known state of a cluster (nodes, quorum, file systems, filesets, disks), with its age and history.

Facts come in parts.  A part is the report of one command.  Each part has its own age and may be missing while others
are known.  Every change of a part is stored with its time, so that the facts of any earlier moment can be read.
"""
