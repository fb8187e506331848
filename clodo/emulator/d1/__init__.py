"""D1 on SQLite files: a database each, with a Time Travel that really goes back."""
