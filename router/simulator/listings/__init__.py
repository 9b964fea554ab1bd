"""The output of the mm commands, for people and (`-Y`) for programs.  Pure.

The columns of `-Y` come from IBM's pages and public samples; those of mmlscallback are not known.
The output for people is recalled, except that of mmlscallback, which is known.
"""
