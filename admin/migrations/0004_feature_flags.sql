-- Feature flags with a type and a default, assigned to a user or to an
-- organisation, at most once each.

ALTER TABLE feature_flags
  ADD COLUMN type text NOT NULL DEFAULT 'bool' CHECK (type IN ('bool', 'string', 'number')),
  ADD COLUMN description text NOT NULL DEFAULT '',
  ADD COLUMN value_bool boolean,
  ADD COLUMN value_text text,
  ADD COLUMN value_num double precision,
  ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- Flags from before had no default: off.
UPDATE feature_flags SET value_bool = false;

ALTER TABLE feature_flags ADD CHECK (
  (type = 'bool') = (value_bool IS NOT NULL)
  AND (type = 'string') = (value_text IS NOT NULL)
  AND (type = 'number') = (value_num IS NOT NULL)
);

DELETE FROM feature_flag_assignments a USING feature_flag_assignments b
  WHERE a.flag_key = b.flag_key AND a.sub IS NOT DISTINCT FROM b.sub
    AND a.org_id IS NOT DISTINCT FROM b.org_id AND a.id < b.id;
DELETE FROM feature_flag_assignments
  WHERE (sub IS NULL) = (org_id IS NULL) OR num_nonnulls(value_bool, value_text, value_num) <> 1;

ALTER TABLE feature_flag_assignments
  ADD CHECK ((sub IS NULL) <> (org_id IS NULL)),
  ADD CHECK (num_nonnulls(value_bool, value_text, value_num) = 1);
CREATE UNIQUE INDEX feature_flag_assignments_of_sub ON feature_flag_assignments (flag_key, sub) WHERE sub IS NOT NULL;
CREATE UNIQUE INDEX feature_flag_assignments_of_org ON feature_flag_assignments (flag_key, org_id) WHERE org_id IS NOT NULL;

-- Each push carries a later number than all before it.
CREATE SEQUENCE feature_flag_version;
