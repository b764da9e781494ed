-- A tenant's own database (tenants/<slug>/data.db).

CREATE TABLE users (
  id TEXT NOT NULL PRIMARY KEY,
  email TEXT NOT NULL DEFAULT '',
  name TEXT NOT NULL DEFAULT '',
  role TEXT NOT NULL CHECK (role IN ('admin', 'member', 'viewer')),
  sso_sub TEXT UNIQUE,
  sso_provider TEXT NOT NULL DEFAULT '',
  permissions TEXT NOT NULL DEFAULT '{}',
  token_key TEXT NOT NULL,
  disabled INTEGER NOT NULL DEFAULT 0,
  created TEXT NOT NULL,
  updated TEXT NOT NULL
);

CREATE TABLE stacks (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  owner_id TEXT NOT NULL REFERENCES users (id),
  kit TEXT NOT NULL DEFAULT '',
  -- the user's kombination.yaml, byte for byte; never rewritten
  spec TEXT NOT NULL DEFAULT '',
  spec_sha256 TEXT NOT NULL DEFAULT '',
  configuration TEXT NOT NULL DEFAULT '{}',
  status TEXT NOT NULL CHECK (status IN ('draft', 'active', 'error')),
  created TEXT NOT NULL,
  updated TEXT NOT NULL
);
CREATE INDEX stacks_owner ON stacks (owner_id, id);

CREATE TABLE stack_members (
  stack_id TEXT NOT NULL REFERENCES stacks (id) ON DELETE CASCADE,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  PRIMARY KEY (stack_id, user_id)
) WITHOUT ROWID;
CREATE INDEX stack_members_user ON stack_members (user_id, stack_id);

CREATE TABLE nodes (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  stack_id TEXT REFERENCES stacks (id) ON DELETE CASCADE,
  type TEXT NOT NULL CHECK (type IN ('vps', 'local')),
  resources TEXT NOT NULL DEFAULT '{}',
  status TEXT NOT NULL CHECK (status IN ('online', 'offline', 'error')),
  last_seen TEXT
);

CREATE TABLE jobs (
  id TEXT NOT NULL PRIMARY KEY,
  type TEXT NOT NULL,
  status TEXT NOT NULL
    CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
  stack_id TEXT,
  user_id TEXT NOT NULL,
  payload TEXT NOT NULL DEFAULT '{}',
  result TEXT,
  error TEXT,
  progress INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL DEFAULT 3,
  -- a run owns the job by this number; an older run's writes are refused
  fence INTEGER NOT NULL DEFAULT 0,
  -- which run of the service has it; another one's are taken up again
  runner TEXT NOT NULL DEFAULT '',
  not_before_ms INTEGER NOT NULL DEFAULT 0,
  created TEXT NOT NULL,
  started TEXT,
  completed TEXT
);
CREATE INDEX jobs_status ON jobs (status, id);
CREATE INDEX jobs_stack ON jobs (stack_id, id);

-- The log of a job: seq counts from 1 without gaps, so a reader resumes
-- after the last line that it has.
CREATE TABLE job_logs (
  job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  at TEXT NOT NULL,
  level TEXT NOT NULL,
  step TEXT NOT NULL,
  message TEXT NOT NULL,
  PRIMARY KEY (job_id, seq)
) WITHOUT ROWID;
