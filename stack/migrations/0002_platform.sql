-- Bytes of files that a tenant may keep; -1: unlimited.
ALTER TABLE _tenants ADD COLUMN max_storage INTEGER NOT NULL DEFAULT 10000000000;
-- The migration that the tenant's own database is known to have.
ALTER TABLE _tenants ADD COLUMN schema_version INTEGER NOT NULL DEFAULT 0;

-- Keyset paging of the audit, and its retention.
CREATE INDEX _audit_logs_at ON _audit_logs (at);

-- Invitations are bound to an e-mail address; of their tokens only hashes are
-- kept. accepted_by is set before the member is made and accepted after it,
-- so that who was interrupted between the two can accept again, and nobody
-- else.
CREATE TABLE _invitations (
  id TEXT NOT NULL PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES _tenants (id) ON DELETE CASCADE,
  email TEXT NOT NULL COLLATE NOCASE,
  role TEXT NOT NULL CHECK (role IN ('admin', 'member', 'viewer')),
  token_hash TEXT NOT NULL UNIQUE,
  invited_by TEXT NOT NULL,
  created TEXT NOT NULL,
  expires TEXT NOT NULL,
  accepted_by TEXT NOT NULL DEFAULT '',
  accepted TEXT NOT NULL DEFAULT ''
);
CREATE INDEX _invitations_tenant ON _invitations (tenant_id, id);
