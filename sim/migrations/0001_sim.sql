-- Simulations of all tenants; every row names its tenant.

CREATE TABLE tenants (
  id TEXT NOT NULL PRIMARY KEY,
  slug TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  zitadel_org_id TEXT NOT NULL UNIQUE,
  plan TEXT NOT NULL DEFAULT 'free' CHECK (plan IN ('free', 'pro', 'enterprise')),
  status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleted')),
  max_simulations INTEGER NOT NULL DEFAULT 3,
  max_nodes_per_sim INTEGER NOT NULL DEFAULT 5,
  resource_quota_cpu REAL NOT NULL DEFAULT 4.0,
  resource_quota_memory_gb REAL NOT NULL DEFAULT 8,
  -- its own block of the SSH port pool; no two overlap
  ssh_start INTEGER NOT NULL UNIQUE,
  ssh_end INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);

CREATE TABLE simulations (
  id TEXT NOT NULL PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  -- what the owner wants; the engine loop works towards it
  wanted TEXT NOT NULL DEFAULT 'stopped' CHECK (wanted IN ('stopped', 'running', 'deleted')),
  status TEXT NOT NULL DEFAULT 'stopped'
    CHECK (status IN ('creating', 'starting', 'running', 'stopping', 'stopped', 'deleting', 'error')),
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);
CREATE INDEX idx_simulations_tenant ON simulations (tenant_id, id);

CREATE TABLE nodes (
  id TEXT NOT NULL PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  simulation_id TEXT NOT NULL REFERENCES simulations (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  os TEXT NOT NULL,
  location TEXT NOT NULL,
  role TEXT NOT NULL,
  container_id TEXT,
  ip TEXT,
  ssh_port INTEGER NOT NULL UNIQUE,
  wanted TEXT NOT NULL DEFAULT 'stopped' CHECK (wanted IN ('stopped', 'running', 'deleted')),
  status TEXT NOT NULL DEFAULT 'creating'
    CHECK (status IN ('creating', 'starting', 'running', 'stopping', 'stopped', 'deleting', 'error')),
  error TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  resources_cpu REAL NOT NULL,
  resources_memory_mb INTEGER NOT NULL,
  resources_disk_gb INTEGER NOT NULL,
  started_at TEXT,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  UNIQUE (simulation_id, name)
);
CREATE INDEX idx_nodes_tenant ON nodes (tenant_id, id);
CREATE INDEX idx_nodes_simulation ON nodes (simulation_id, id);
-- what the engine loop has to do
CREATE INDEX idx_nodes_work ON nodes (id) WHERE status <> wanted AND status <> 'error';

CREATE TABLE events (
  simulation_id TEXT NOT NULL REFERENCES simulations (id) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  at TEXT NOT NULL,
  level TEXT NOT NULL,
  node TEXT,
  message TEXT NOT NULL,
  PRIMARY KEY (simulation_id, seq)
) WITHOUT ROWID;
