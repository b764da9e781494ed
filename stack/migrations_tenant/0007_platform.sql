-- What happened in the tenant, for its members.
CREATE TABLE _kombi_activity (
  id TEXT NOT NULL PRIMARY KEY,
  at TEXT NOT NULL,
  actor TEXT NOT NULL,
  actor_name TEXT NOT NULL DEFAULT '',
  action TEXT NOT NULL,
  resource TEXT NOT NULL DEFAULT '',
  resource_id TEXT NOT NULL DEFAULT '',
  details TEXT
);
CREATE INDEX _kombi_activity_at ON _kombi_activity (at);

-- Secrets: ciphertext is "enc:v1:…", bound to its tenant and row.
CREATE TABLE _kombi_wallet (
  id TEXT NOT NULL PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  label TEXT NOT NULL DEFAULT '',
  kind TEXT NOT NULL DEFAULT 'secret',
  stack_id TEXT REFERENCES _kombi_stacks (id) ON DELETE CASCADE,
  ciphertext TEXT NOT NULL,
  metadata TEXT NOT NULL DEFAULT '{}',
  created_by TEXT NOT NULL,
  created TEXT NOT NULL,
  updated TEXT NOT NULL
);
