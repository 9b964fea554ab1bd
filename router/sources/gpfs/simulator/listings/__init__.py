"""What the mm commands print, for people and (`-Y`) for programs.  Pure.

The columns of `-Y` were read in IBM's pages and in public samples; those of mmlscallback and mmlsnodeclass are not
known.  What is for people is recalled, but for mmlscallback.
"""
