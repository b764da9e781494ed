-- Settings of the tenant's API, one JSON text under "settings", as upstream.
CREATE TABLE _params (
  id TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL,
  created TEXT NOT NULL,
  updated TEXT NOT NULL
);
