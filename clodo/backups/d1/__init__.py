"""D1 in snapshots: what a database is made of, how its rows are read exactly, and the SQL that brings them back."""
