"""What consumers remember: deliveries and their outcomes, the audit of events, letters, and bindings.

SQLite where the consumers are on one machine, PostgreSQL where they are on several: one URL says which.  What is in
the tables is told by `schema`; the modules beside it each read and write one of them, in a transaction of the caller's.
"""

from .database import Store

__all__ = ["Store"]
