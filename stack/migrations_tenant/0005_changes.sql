-- What changed in the tenant's collections, in the order of its commits: for
-- those who were not connected. Old rows go (changes_store.c).
CREATE TABLE _kombi_changes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  collection_id TEXT NOT NULL,
  record_id TEXT NOT NULL,
  action INTEGER NOT NULL,
  created INTEGER NOT NULL -- unix seconds
);
