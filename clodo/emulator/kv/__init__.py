"""Workers KV on one SQLite file: namespaces, values that really expire, and what Workers and the API ask of them."""
