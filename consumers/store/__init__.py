"""The consumers' database: attempts and outcomes, the audit of events, dead letters, rates, breakers, bindings.

Use SQLite if all consumers run on one machine, PostgreSQL if they run on several; the URL selects the database.
`schema` defines the tables.  The other modules each read and write some of them, in a transaction of the caller.
"""
