-- Collections of the records API. The rows of a collection are in its own
-- table (table_name); a rule that is NULL is for superusers alone.
CREATE TABLE _collections (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE COLLATE NOCASE,
  type TEXT NOT NULL CHECK (type IN ('base', 'auth')),
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
  updated TEXT NOT NULL
);

-- The members of the tenant are its auth collection: the columns get the
-- names of the contract, the times the form of the records API.
ALTER TABLE users RENAME COLUMN sso_sub TO "ssoSub";
ALTER TABLE users RENAME COLUMN sso_provider TO "ssoProvider";
ALTER TABLE users RENAME COLUMN token_key TO "tokenKey";
ALTER TABLE users ADD COLUMN "emailVisibility" INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN verified INTEGER NOT NULL DEFAULT 1;
UPDATE users SET created = replace(created, 'T', ' '),
  updated = replace(updated, 'T', ' ');

INSERT INTO _collections (id, name, type, system, table_name, fields,
  list_rule, view_rule, update_rule, created, updated)
VALUES ('_pb_users_auth_', 'users', 'auth', 1, 'users', '[
 {"id":"text3208210256","name":"id","type":"text","system":true,"required":true,"primaryKey":true,"min":15,"max":15,"pattern":"^[a-z0-9]+$","autogeneratePattern":"[a-z0-9]{15}"},
 {"id":"email3885137012","name":"email","type":"email","system":true},
 {"id":"bool1547992806","name":"emailVisibility","type":"bool","system":true},
 {"id":"bool256245529","name":"verified","type":"bool","system":true},
 {"id":"text1579384326","name":"name","type":"text","system":true,"max":255},
 {"id":"select1466534506","name":"role","type":"select","system":true,"required":true,"maxSelect":1,"values":["admin","member","viewer"]},
 {"id":"text2119024296","name":"ssoSub","type":"text","system":true,"hidden":true},
 {"id":"text2624797523","name":"ssoProvider","type":"text","system":true,"hidden":true},
 {"id":"json770559087","name":"permissions","type":"json","system":true,"maxSize":65536},
 {"id":"autodate2990389176","name":"created","type":"autodate","system":true,"onCreate":true},
 {"id":"autodate3332085495","name":"updated","type":"autodate","system":true,"onCreate":true,"onUpdate":true}
]',
 '@request.auth.id != ""', '@request.auth.id != ""',
 'id = @request.auth.id && @request.body.role:isset = false && @request.body.permissions:isset = false && @request.body.verified:isset = false && @request.body.email:isset = false',
 strftime('%Y-%m-%d %H:%M:%fZ', 'now'), strftime('%Y-%m-%d %H:%M:%fZ', 'now'));
