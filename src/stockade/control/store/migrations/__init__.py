"""The shapes that the tables have had, one revision after the other.

`versions` holds the steps, applied when a server starts (`store.migrating`). To change a
table: change its model, and add a revision that does the same to a database that exists.
A test compares the two.
"""
