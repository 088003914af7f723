-- Deploy pmp:create_vendor_cache to pg
BEGIN;
CREATE TABLE pmp.upstream_cache (
  url             text PRIMARY KEY,
  etag            text,
  version         integer,
  document        jsonb,
  fetched_at      timestamptz,
  fresh_until     timestamptz,
  next_attempt_at timestamptz NOT NULL DEFAULT '-infinity',
  failures        integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error      text,
  CONSTRAINT upstream_cache_copy_is_whole CHECK (num_nonnulls(version, document, fetched_at, fresh_until) IN (0, 4))
);
COMMENT ON TABLE pmp.upstream_cache IS
  'One row per document of a third party. The caller that moves next_attempt_at forward fetches it: UPDATE … WHERE '
  'next_attempt_at <= now() RETURNING.';
COMMENT ON COLUMN pmp.upstream_cache.version IS 'The document''s own version; never decreases.';
COMMENT ON COLUMN pmp.upstream_cache.document IS 'The parts that have no table of their own (purposes, features, …).';

CREATE TABLE pmp.vendor (
  id         integer PRIMARY KEY CHECK (id > 0),
  name       text NOT NULL,
  purposes   integer[] NOT NULL,
  deleted_at timestamptz,
  document   jsonb NOT NULL
);
COMMENT ON TABLE pmp.vendor IS 'Vendors in the current copy of the Global Vendor List, replaced all at once.';
COMMENT ON COLUMN pmp.vendor.purposes IS 'Purposes based on consent or legitimate interest, for the filter.';
CREATE INDEX vendor_by_purpose ON pmp.vendor USING gin (purposes);

GRANT SELECT, INSERT, UPDATE ON pmp.upstream_cache TO pmp_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON pmp.vendor TO pmp_app;
GRANT SELECT ON pmp.upstream_cache, pmp.vendor TO pmp_readonly;
COMMIT;
