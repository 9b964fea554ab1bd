"""File systems and their parts as objects: filesets, disks, snapshots.  Only snapshots can be changed."""
