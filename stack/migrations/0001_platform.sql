-- Shared collections of an instance (platform.db): tenants, who belongs to
-- them, configuration, flags, audit. Times are RFC 3339 UTC text.

CREATE TABLE _tenants (
  id TEXT NOT NULL PRIMARY KEY,
  slug TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  zitadel_org_id TEXT NOT NULL UNIQUE,
  plan TEXT NOT NULL CHECK (plan IN ('free', 'pro', 'enterprise')),
  max_users INTEGER NOT NULL,
  max_nodes INTEGER NOT NULL,
  max_stacks INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
  -- collection secret of the tenant's users: half of the key of their tokens
  token_secret TEXT NOT NULL,
  created TEXT NOT NULL,
  updated TEXT NOT NULL
);

-- Membership: nobody reaches a tenant's data without a row here.
CREATE TABLE _sso_mappings (
  id TEXT NOT NULL PRIMARY KEY,
  zitadel_sub TEXT NOT NULL,
  tenant_id TEXT NOT NULL REFERENCES _tenants (id) ON DELETE CASCADE,
  pb_user_id TEXT NOT NULL,
  is_admin INTEGER NOT NULL DEFAULT 0,
  last_login TEXT NOT NULL,
  UNIQUE (zitadel_sub, tenant_id)
);
CREATE INDEX _sso_mappings_sub ON _sso_mappings (zitadel_sub);

CREATE TABLE _instance_config (
  id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  deployment_mode TEXT NOT NULL,
  max_tenants INTEGER NOT NULL,
  features TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE _feature_flags (
  tenant_id TEXT NOT NULL DEFAULT '',
  sub TEXT NOT NULL DEFAULT '',
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  version INTEGER NOT NULL DEFAULT 0,
  updated TEXT NOT NULL,
  PRIMARY KEY (tenant_id, sub, key)
) WITHOUT ROWID;

CREATE TABLE _audit_logs (
  id TEXT NOT NULL PRIMARY KEY,
  at TEXT NOT NULL,
  tenant TEXT,
  actor TEXT,
  action TEXT NOT NULL,
  resource TEXT,
  resource_id TEXT,
  details TEXT,
  ip TEXT,
  request_id TEXT
);
CREATE INDEX _audit_logs_tenant ON _audit_logs (tenant, id);

-- Tenants that may have jobs to run: a hint for the job loop, written after
-- the job, so that it need not open every tenant's database.
CREATE TABLE _job_hints (
  tenant_id TEXT NOT NULL PRIMARY KEY REFERENCES _tenants (id) ON DELETE CASCADE,
  at TEXT NOT NULL
) WITHOUT ROWID;
