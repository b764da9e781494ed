-- The platform's own data: who, which tenants, where they live.

CREATE TYPE plan AS ENUM ('FREE', 'PRO', 'ENTERPRISE');
CREATE TYPE instance_status AS ENUM ('PROVISIONING', 'ACTIVE', 'SUSPENDED', 'DECOMMISSIONING');
CREATE TYPE deployment_mode AS ENUM ('SHARED', 'DEDICATED');
CREATE TYPE health_status AS ENUM ('HEALTHY', 'DEGRADED', 'UNHEALTHY', 'UNKNOWN');
CREATE TYPE component_status AS ENUM ('OK', 'ERROR', 'TIMEOUT');

CREATE TABLE kombistack_instances (
  id text PRIMARY KEY,
  name text NOT NULL UNIQUE,
  region text NOT NULL,
  status instance_status NOT NULL DEFAULT 'PROVISIONING',
  max_tenants integer NOT NULL DEFAULT 50 CHECK (max_tenants > 0),
  current_tenants integer NOT NULL DEFAULT 0 CHECK (current_tenants >= 0),
  deployment_mode deployment_mode NOT NULL DEFAULT 'SHARED',
  internal_endpoint text NOT NULL,
  public_endpoint text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CHECK (current_tenants <= max_tenants)
);

CREATE TABLE instance_health_checks (
  id text PRIMARY KEY,
  instance_id text NOT NULL REFERENCES kombistack_instances (id) ON DELETE CASCADE,
  timestamp timestamptz NOT NULL DEFAULT now(),
  status health_status NOT NULL,
  database component_status NOT NULL,
  api component_status NOT NULL,
  agents component_status NOT NULL,
  cpu_percent double precision,
  memory_percent double precision,
  storage_percent double precision
);
CREATE INDEX instance_health_checks_at ON instance_health_checks (instance_id, timestamp DESC);

CREATE TABLE tenants (
  id text PRIMARY KEY,
  slug text NOT NULL UNIQUE,
  name text NOT NULL,
  zitadel_org_id text NOT NULL UNIQUE,
  instance_id text REFERENCES kombistack_instances (id),
  plan plan NOT NULL DEFAULT 'FREE',
  subscription_status text NOT NULL DEFAULT 'ACTIVE',
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleted')),
  max_users integer NOT NULL DEFAULT 5,
  max_nodes integer NOT NULL DEFAULT 3,
  -- set when the tenant's instance has confirmed it
  provisioned_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tenants_instance ON tenants (instance_id);

CREATE TABLE users (
  id text PRIMARY KEY,
  sub text NOT NULL UNIQUE,
  email text,
  name text,
  avatar_url text,
  tenant_id text REFERENCES tenants (id) ON DELETE SET NULL,
  -- least privilege: who creates a tenant becomes its admin, nobody else
  is_homelab_admin boolean NOT NULL DEFAULT false,
  homelab_role text NOT NULL DEFAULT 'member' CHECK (homelab_role IN ('admin', 'member', 'viewer')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_tenant ON users (tenant_id);

CREATE TABLE feature_flags (
  id text PRIMARY KEY,
  key text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE feature_flag_assignments (
  id text PRIMARY KEY,
  flag_key text NOT NULL REFERENCES feature_flags (key) ON DELETE CASCADE,
  sub text,
  org_id text,
  value_bool boolean,
  value_text text,
  value_num double precision,
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feature_flag_assignments_sub ON feature_flag_assignments (sub);
CREATE INDEX feature_flag_assignments_org ON feature_flag_assignments (org_id);
CREATE INDEX feature_flag_assignments_key ON feature_flag_assignments (flag_key);

CREATE TABLE audit_log (
  id text PRIMARY KEY,
  at timestamptz NOT NULL,
  tenant text,
  actor text,
  action text NOT NULL,
  resource text,
  resource_id text,
  details jsonb,
  ip text,
  request_id text
);
CREATE INDEX audit_log_actor ON audit_log (actor, at DESC);

-- What other services must be told: written with the change itself, sent
-- until it was taken.
CREATE TABLE outbox (
  id text PRIMARY KEY,
  callee text NOT NULL,
  method text NOT NULL,
  url text NOT NULL,
  body text NOT NULL,
  tenant_id text REFERENCES tenants (id) ON DELETE CASCADE,
  attempts integer NOT NULL DEFAULT 0,
  not_before timestamptz NOT NULL DEFAULT now(),
  sent_at timestamptz,
  refused_at timestamptz,
  error text,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_waiting ON outbox (not_before) WHERE sent_at IS NULL AND refused_at IS NULL;
