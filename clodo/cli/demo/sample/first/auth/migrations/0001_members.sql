CREATE TABLE members (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  signature TEXT NOT NULL,
  created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX members_by_name ON members (name);
