-- Deploy pmp:create_erasures to pg
BEGIN;
CREATE TABLE pmp.erasure (
  user_id      uuid NOT NULL,
  address_hash bytea NOT NULL CHECK (length(address_hash) = 32),
  erased_at    timestamptz NOT NULL,
  PRIMARY KEY (user_id, address_hash)
);
COMMENT ON TABLE pmp.erasure IS
  'Erased users, recognised by a hash of each address and each other identifier that they ever had. The same entries are in the journal outside '
  'the database, from which they are added again after a restore. So a row may name a user that this database does not '
  'have.';
COMMENT ON COLUMN pmp.erasure.address_hash IS
  'HMAC-SHA256 of fold_email(address), or of kind:value of another identifier. The key is in Secrets Manager: the database '
  'alone cannot test an address.';
COMMENT ON COLUMN pmp.erasure.erased_at IS 'Choices of this address that were made until then are not imported again.';
CREATE INDEX erasure_address ON pmp.erasure (address_hash, erased_at);
-- The events of an erased user leave once the erasure is old enough (docs/adr/0229).
CREATE INDEX erasure_time ON pmp.erasure (erased_at, user_id);

CREATE TABLE pmp.former_identifier (
  subject_key  bigint NOT NULL,
  address_hash bytea NOT NULL CHECK (length(address_hash) = 32),
  replaced_at  timestamptz NOT NULL DEFAULT now(),
  replaced_by  integer NOT NULL REFERENCES pmp.source,
  PRIMARY KEY (subject_key, address_hash)
);
COMMENT ON TABLE pmp.former_identifier IS
  'Addresses and other identifiers that users had before, as erasure.address_hash: an erasure remembers them too.';

CREATE FUNCTION pmp.erasure_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT hashtextextended('erasure', 0)
$$;
COMMENT ON FUNCTION pmp.erasure_lock IS
  'Key of the advisory lock that import batches share and an erasure has for itself: an event is added to a user either '
  'before the erasure, which sees it, or not at all.';

GRANT SELECT ON pmp.erasure, pmp.former_identifier TO pmp_app;
COMMIT;
