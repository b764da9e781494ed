-- Files of records by name, so that what they take is known exactly in the
-- transaction that changes it, and so that bytes without a name can be told.
CREATE TABLE _kombi_files (
  collection_id TEXT NOT NULL,
  record_id TEXT NOT NULL,
  name TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (collection_id, record_id, name)
) WITHOUT ROWID;
CREATE TABLE _kombi_storage (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  used INTEGER NOT NULL
);
INSERT INTO _kombi_storage (id, used) VALUES (1, 0);
CREATE TRIGGER _kombi_files_added AFTER INSERT ON _kombi_files BEGIN
  UPDATE _kombi_storage SET used = used + NEW.size WHERE id = 1;
END;
CREATE TRIGGER _kombi_files_gone AFTER DELETE ON _kombi_files BEGIN
  UPDATE _kombi_storage SET used = used - OLD.size WHERE id = 1;
END;
