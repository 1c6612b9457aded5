"""The database: tables, migrations, and the one way to get a session."""
