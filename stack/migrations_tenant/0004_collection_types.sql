-- Collections of three types with options, members with passwords, and the
-- collections that every tenant has: superusers, what signing in keeps.

CREATE TABLE collections_new (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE COLLATE NOCASE,
  type TEXT NOT NULL CHECK (type IN ('base', 'auth', 'view')),
  system INTEGER NOT NULL DEFAULT 0,
  table_name TEXT NOT NULL UNIQUE,
  fields TEXT NOT NULL,
  indexes TEXT NOT NULL DEFAULT '[]',
  list_rule TEXT,
  view_rule TEXT,
  create_rule TEXT,
  update_rule TEXT,
  delete_rule TEXT,
  created TEXT NOT NULL,
  updated TEXT NOT NULL,
  options TEXT NOT NULL DEFAULT '{}'
);
INSERT INTO collections_new (id, name, type, system, table_name, fields, indexes,
  list_rule, view_rule, create_rule, update_rule, delete_rule, created, updated)
SELECT id, name, type, system, table_name, fields, indexes,
  list_rule, view_rule, create_rule, update_rule, delete_rule, created, updated
FROM _collections;
DROP TABLE _collections;
ALTER TABLE collections_new RENAME TO _collections;

-- A user without a role is nobody on the platform's routes: people who
-- registered themselves, or came with an import. What refers to users is made
-- anew with it, since a CHECK cannot be changed.
CREATE TABLE users_new (
  id TEXT NOT NULL PRIMARY KEY,
  email TEXT NOT NULL DEFAULT '',
  name TEXT NOT NULL DEFAULT '',
  role TEXT NOT NULL DEFAULT '' CHECK (role IN ('admin', 'member', 'viewer', '')),
  "ssoSub" TEXT,
  "ssoProvider" TEXT NOT NULL DEFAULT '',
  permissions TEXT DEFAULT '{}',
  password TEXT NOT NULL DEFAULT '',
  "tokenKey" TEXT NOT NULL DEFAULT '',
  "emailVisibility" INTEGER NOT NULL DEFAULT 0,
  verified INTEGER NOT NULL DEFAULT 0,
  disabled INTEGER NOT NULL DEFAULT 0,
  created TEXT NOT NULL DEFAULT '',
  updated TEXT NOT NULL DEFAULT ''
);
INSERT INTO users_new (id, email, name, role, "ssoSub", "ssoProvider",
  permissions, "tokenKey", "emailVisibility", verified, disabled, created, updated)
SELECT id, CASE WHEN email IN (SELECT email FROM users GROUP BY email
    HAVING count(*) > 1) THEN '' ELSE email END, name, role, "ssoSub", "ssoProvider",
  permissions, "tokenKey", "emailVisibility", verified, disabled, created, updated
FROM users;
CREATE UNIQUE INDEX users_sub ON users_new ("ssoSub") WHERE "ssoSub" != '';

CREATE TABLE stacks_new (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  owner_id TEXT NOT NULL REFERENCES users_new (id),
  kit TEXT NOT NULL DEFAULT '',
  -- the user's kombination.yaml, byte for byte; never rewritten
  spec TEXT NOT NULL DEFAULT '',
  spec_sha256 TEXT NOT NULL DEFAULT '',
  configuration TEXT NOT NULL DEFAULT '{}',
  status TEXT NOT NULL CHECK (status IN ('draft', 'active', 'error')),
  created TEXT NOT NULL,
  updated TEXT NOT NULL
);
INSERT INTO stacks_new SELECT id, name, description, owner_id, kit, spec,
  spec_sha256, configuration, status, created, updated FROM _kombi_stacks;
CREATE TABLE stack_members_new (
  stack_id TEXT NOT NULL REFERENCES stacks_new (id) ON DELETE CASCADE,
  user_id TEXT NOT NULL REFERENCES users_new (id) ON DELETE CASCADE,
  PRIMARY KEY (stack_id, user_id)
) WITHOUT ROWID;
INSERT INTO stack_members_new SELECT stack_id, user_id FROM _kombi_stack_members;
CREATE TABLE nodes_new (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  stack_id TEXT REFERENCES stacks_new (id) ON DELETE CASCADE,
  type TEXT NOT NULL CHECK (type IN ('vps', 'local')),
  resources TEXT NOT NULL DEFAULT '{}',
  status TEXT NOT NULL CHECK (status IN ('online', 'offline', 'error')),
  last_seen TEXT
);
INSERT INTO nodes_new SELECT id, name, stack_id, type, resources, status,
  last_seen FROM _kombi_nodes;
DROP TABLE _kombi_nodes;
DROP TABLE _kombi_stack_members;
DROP TABLE _kombi_stacks;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;
ALTER TABLE stacks_new RENAME TO _kombi_stacks;
ALTER TABLE stack_members_new RENAME TO _kombi_stack_members;
ALTER TABLE nodes_new RENAME TO _kombi_nodes;
CREATE INDEX stacks_owner ON _kombi_stacks (owner_id, id);
CREATE INDEX stack_members_user ON _kombi_stack_members (user_id, stack_id);

-- People who come by single sign-on have no password; local accounts have one.
UPDATE _collections SET fields = '[
 {"system":true,"id":"text3208210256","name":"id","type":"text","required":true,"primaryKey":true,"min":15,"max":15,"pattern":"^[a-z0-9]+$","autogeneratePattern":"[a-z0-9]{15}"},
 {"system":true,"id":"password901924565","name":"password","type":"password","hidden":true,"required":false,"min":8},
 {"system":true,"id":"text2504183744","name":"tokenKey","type":"text","hidden":true,"required":false,"min":30,"max":60,"autogeneratePattern":"[a-zA-Z0-9]{50}"},
 {"system":true,"id":"email3885137012","name":"email","type":"email","required":false},
 {"system":true,"id":"bool1547992806","name":"emailVisibility","type":"bool"},
 {"system":true,"id":"bool256245529","name":"verified","type":"bool"},
 {"system":true,"id":"text1579384326","name":"name","type":"text","max":255},
 {"system":true,"id":"select1466534506","name":"role","type":"select","maxSelect":1,"values":["admin","member","viewer"]},
 {"system":true,"id":"text2119024296","name":"ssoSub","type":"text","hidden":true},
 {"system":true,"id":"text2624797523","name":"ssoProvider","type":"text","hidden":true},
 {"system":true,"id":"json770559087","name":"permissions","type":"json","maxSize":65536},
 {"system":true,"id":"autodate2990389176","name":"created","type":"autodate","onCreate":true},
 {"system":true,"id":"autodate3332085495","name":"updated","type":"autodate","onCreate":true,"onUpdate":true}
]',
indexes = '["CREATE UNIQUE INDEX `idx_tokenKey__pb_users_auth_` ON `users` (`tokenKey`)","CREATE UNIQUE INDEX `idx_email__pb_users_auth_` ON `users` (`email`) WHERE `email` != ''''"]',
options = json_object('authToken', json_object('secret', lower(hex(randomblob(25)))), 'passwordResetToken', json_object('secret', lower(hex(randomblob(25)))), 'emailChangeToken', json_object('secret', lower(hex(randomblob(25)))), 'verificationToken', json_object('secret', lower(hex(randomblob(25)))), 'fileToken', json_object('secret', lower(hex(randomblob(25)))))
WHERE id = '_pb_users_auth_';
CREATE UNIQUE INDEX "users idx_tokenKey__pb_users_auth_" ON users ("tokenKey");
CREATE UNIQUE INDEX "users idx_email__pb_users_auth_" ON users (email) WHERE email != '';

CREATE TABLE _mfas (
  id TEXT NOT NULL PRIMARY KEY,
  "collectionRef" TEXT NOT NULL DEFAULT '',
  "recordRef" TEXT NOT NULL DEFAULT '',
  "method" TEXT NOT NULL DEFAULT '',
  "created" TEXT NOT NULL DEFAULT '',
  "updated" TEXT NOT NULL DEFAULT ''
);
CREATE INDEX "_mfas idx_mfas_collectionRef_recordRef" ON _mfas ("collectionRef", "recordRef");
INSERT INTO _collections (id, name, type, system, table_name, fields, indexes,
  list_rule, view_rule, delete_rule, created, updated, options)
VALUES ('pbc_2279338944', '_mfas', 'base', 1, '_mfas', '[
 {"system":true,"id":"text3208210256","name":"id","type":"text","required":true,"primaryKey":true,"min":15,"max":15,"pattern":"^[a-z0-9]+$","autogeneratePattern":"[a-z0-9]{15}"},
 {"system":true,"id":"text455797646","name":"collectionRef","type":"text","required":true},
 {"system":true,"id":"text127846527","name":"recordRef","type":"text","required":true},
 {"system":true,"id":"text1582905952","name":"method","type":"text","required":true},
 {"system":true,"id":"autodate2990389176","name":"created","type":"autodate","onCreate":true},
 {"system":true,"id":"autodate3332085495","name":"updated","type":"autodate","onCreate":true,"onUpdate":true}
]',
 '["CREATE INDEX `idx_mfas_collectionRef_recordRef` ON `_mfas` (collectionRef,recordRef)"]',
 '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', NULL, strftime('%Y-%m-%d %H:%M:%fZ', 'now'), strftime('%Y-%m-%d %H:%M:%fZ', 'now'), '{}');

CREATE TABLE _otps (
  id TEXT NOT NULL PRIMARY KEY,
  "collectionRef" TEXT NOT NULL DEFAULT '',
  "recordRef" TEXT NOT NULL DEFAULT '',
  "password" TEXT NOT NULL DEFAULT '',
  "sentTo" TEXT NOT NULL DEFAULT '',
  "created" TEXT NOT NULL DEFAULT '',
  "updated" TEXT NOT NULL DEFAULT ''
);
CREATE INDEX "_otps idx_otps_collectionRef_recordRef" ON _otps ("collectionRef", "recordRef");
INSERT INTO _collections (id, name, type, system, table_name, fields, indexes,
  list_rule, view_rule, delete_rule, created, updated, options)
VALUES ('pbc_1638494021', '_otps', 'base', 1, '_otps', '[
 {"system":true,"id":"text3208210256","name":"id","type":"text","required":true,"primaryKey":true,"min":15,"max":15,"pattern":"^[a-z0-9]+$","autogeneratePattern":"[a-z0-9]{15}"},
 {"system":true,"id":"text455797646","name":"collectionRef","type":"text","required":true},
 {"system":true,"id":"text127846527","name":"recordRef","type":"text","required":true},
 {"system":true,"id":"password901924565","name":"password","type":"password","hidden":true,"required":true,"min":0,"cost":8},
 {"system":true,"id":"text3866985172","name":"sentTo","type":"text","hidden":true},
 {"system":true,"id":"autodate2990389176","name":"created","type":"autodate","onCreate":true},
 {"system":true,"id":"autodate3332085495","name":"updated","type":"autodate","onCreate":true,"onUpdate":true}
]',
 '["CREATE INDEX `idx_otps_collectionRef_recordRef` ON `_otps` (collectionRef, recordRef)"]',
 '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', NULL, strftime('%Y-%m-%d %H:%M:%fZ', 'now'), strftime('%Y-%m-%d %H:%M:%fZ', 'now'), '{}');

CREATE TABLE _externalAuths (
  id TEXT NOT NULL PRIMARY KEY,
  "collectionRef" TEXT NOT NULL DEFAULT '',
  "recordRef" TEXT NOT NULL DEFAULT '',
  "provider" TEXT NOT NULL DEFAULT '',
  "providerId" TEXT NOT NULL DEFAULT '',
  "created" TEXT NOT NULL DEFAULT '',
  "updated" TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX "_externalAuths idx_externalAuths_record_provider" ON _externalAuths ("collectionRef", "recordRef", "provider");
CREATE UNIQUE INDEX "_externalAuths idx_externalAuths_collection_provider" ON _externalAuths ("collectionRef", "provider", "providerId");
INSERT INTO _collections (id, name, type, system, table_name, fields, indexes,
  list_rule, view_rule, delete_rule, created, updated, options)
VALUES ('pbc_2281828961', '_externalAuths', 'base', 1, '_externalAuths', '[
 {"system":true,"id":"text3208210256","name":"id","type":"text","required":true,"primaryKey":true,"min":15,"max":15,"pattern":"^[a-z0-9]+$","autogeneratePattern":"[a-z0-9]{15}"},
 {"system":true,"id":"text455797646","name":"collectionRef","type":"text","required":true},
 {"system":true,"id":"text127846527","name":"recordRef","type":"text","required":true},
 {"system":true,"id":"text2462348188","name":"provider","type":"text","required":true},
 {"system":true,"id":"text1044722854","name":"providerId","type":"text","required":true},
 {"system":true,"id":"autodate2990389176","name":"created","type":"autodate","onCreate":true},
 {"system":true,"id":"autodate3332085495","name":"updated","type":"autodate","onCreate":true,"onUpdate":true}
]',
 '["CREATE UNIQUE INDEX `idx_externalAuths_record_provider` ON `_externalAuths` (collectionRef, recordRef, provider)","CREATE UNIQUE INDEX `idx_externalAuths_collection_provider` ON `_externalAuths` (collectionRef, provider, providerId)"]',
 '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', strftime('%Y-%m-%d %H:%M:%fZ', 'now'), strftime('%Y-%m-%d %H:%M:%fZ', 'now'), '{}');

CREATE TABLE _authOrigins (
  id TEXT NOT NULL PRIMARY KEY,
  "collectionRef" TEXT NOT NULL DEFAULT '',
  "recordRef" TEXT NOT NULL DEFAULT '',
  "fingerprint" TEXT NOT NULL DEFAULT '',
  "created" TEXT NOT NULL DEFAULT '',
  "updated" TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX "_authOrigins idx_authOrigins_unique_pairs" ON _authOrigins ("collectionRef", "recordRef", "fingerprint");
INSERT INTO _collections (id, name, type, system, table_name, fields, indexes,
  list_rule, view_rule, delete_rule, created, updated, options)
VALUES ('pbc_4275539003', '_authOrigins', 'base', 1, '_authOrigins', '[
 {"system":true,"id":"text3208210256","name":"id","type":"text","required":true,"primaryKey":true,"min":15,"max":15,"pattern":"^[a-z0-9]+$","autogeneratePattern":"[a-z0-9]{15}"},
 {"system":true,"id":"text455797646","name":"collectionRef","type":"text","required":true},
 {"system":true,"id":"text127846527","name":"recordRef","type":"text","required":true},
 {"system":true,"id":"text4228609354","name":"fingerprint","type":"text","required":true},
 {"system":true,"id":"autodate2990389176","name":"created","type":"autodate","onCreate":true},
 {"system":true,"id":"autodate3332085495","name":"updated","type":"autodate","onCreate":true,"onUpdate":true}
]',
 '["CREATE UNIQUE INDEX `idx_authOrigins_unique_pairs` ON `_authOrigins` (collectionRef, recordRef, fingerprint)"]',
 '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', '@request.auth.id != '''' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId', strftime('%Y-%m-%d %H:%M:%fZ', 'now'), strftime('%Y-%m-%d %H:%M:%fZ', 'now'), '{}');

CREATE TABLE _superusers (
  id TEXT NOT NULL PRIMARY KEY,
  "password" TEXT NOT NULL DEFAULT '',
  "tokenKey" TEXT NOT NULL DEFAULT '',
  "email" TEXT NOT NULL DEFAULT '',
  "emailVisibility" INTEGER NOT NULL DEFAULT 0,
  "verified" INTEGER NOT NULL DEFAULT 0,
  "created" TEXT NOT NULL DEFAULT '',
  "updated" TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX "_superusers idx_tokenKey_pbc_3142635823" ON _superusers ("tokenKey");
CREATE UNIQUE INDEX "_superusers idx_email_pbc_3142635823" ON _superusers ("email") WHERE email != '';
INSERT INTO _collections (id, name, type, system, table_name, fields, indexes,
  list_rule, view_rule, delete_rule, created, updated, options)
VALUES ('pbc_3142635823', '_superusers', 'auth', 1, '_superusers', '[
 {"system":true,"id":"text3208210256","name":"id","type":"text","required":true,"primaryKey":true,"min":15,"max":15,"pattern":"^[a-z0-9]+$","autogeneratePattern":"[a-z0-9]{15}"},
 {"system":true,"id":"password901924565","name":"password","type":"password","hidden":true,"required":true,"min":8},
 {"system":true,"id":"text2504183744","name":"tokenKey","type":"text","hidden":true,"required":true,"min":30,"max":60,"autogeneratePattern":"[a-zA-Z0-9]{50}"},
 {"system":true,"id":"email3885137012","name":"email","type":"email","required":true},
 {"system":true,"id":"bool1547992806","name":"emailVisibility","type":"bool"},
 {"system":true,"id":"bool256245529","name":"verified","type":"bool"},
 {"system":true,"id":"autodate2990389176","name":"created","type":"autodate","onCreate":true},
 {"system":true,"id":"autodate3332085495","name":"updated","type":"autodate","onCreate":true,"onUpdate":true}
]',
 '["CREATE UNIQUE INDEX `idx_tokenKey_pbc_3142635823` ON `_superusers` (`tokenKey`)","CREATE UNIQUE INDEX `idx_email_pbc_3142635823` ON `_superusers` (`email`) WHERE `email` != ''''"]',
 NULL, NULL, NULL, strftime('%Y-%m-%d %H:%M:%fZ', 'now'), strftime('%Y-%m-%d %H:%M:%fZ', 'now'), json_object('authToken', json_object('duration', 86400, 'secret', lower(hex(randomblob(25)))), 'passwordResetToken', json_object('secret', lower(hex(randomblob(25)))), 'emailChangeToken', json_object('secret', lower(hex(randomblob(25)))), 'verificationToken', json_object('secret', lower(hex(randomblob(25)))), 'fileToken', json_object('secret', lower(hex(randomblob(25))))));
