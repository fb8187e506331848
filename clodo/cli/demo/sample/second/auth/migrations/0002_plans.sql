-- An expand migration: the version that serves meanwhile goes on working, since it never names the new column.
ALTER TABLE members ADD COLUMN plan TEXT NOT NULL DEFAULT 'free';
