-- Deploy pmp:create_subjects to pg
BEGIN;
CREATE FUNCTION pmp.fold_email(email text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT lower(email COLLATE "und-x-icu") COLLATE "C"
$$;
COMMENT ON FUNCTION pmp.fold_email IS
  'The form in which addresses are compared. ICU, because the system''s own lower() differs between RDS and Debian.';

CREATE FUNCTION pmp.address_digest(email_key text) RETURNS bytea
-- convert_to() is STABLE, and an index needs IMMUTABLE; this decodes to the same bytes.
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT sha256(decode(replace(email_key, '\', '\\'), 'escape'))
$$;
COMMENT ON FUNCTION pmp.address_digest IS 'SHA-256 of a folded address, as lists of hashed addresses have it.';

CREATE TABLE pmp.subject (
  subject_key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          uuid NOT NULL UNIQUE,
  email       text CHECK (length(email) BETWEEN 3 AND 320),
  email_key   text COLLATE "C" GENERATED ALWAYS AS (lower(email COLLATE "und-x-icu")) STORED UNIQUE,
  created_at  timestamptz NOT NULL DEFAULT now(),
  created_by  integer NOT NULL REFERENCES pmp.source,
  erased_at   timestamptz,
  erased_by   integer REFERENCES pmp.source,
  has_more    boolean NOT NULL DEFAULT false,
  transaction_number bigint NOT NULL,
  CONSTRAINT subject_has_email_until_erased CHECK (
    (email IS NULL) = (erased_at IS NOT NULL) AND (erased_at IS NULL) = (erased_by IS NULL)
  )
);
COMMENT ON TABLE pmp.subject IS
  'A user. Erasure removes the email address and keeps the row: a pseudonym that the events refer to.';
COMMENT ON COLUMN pmp.subject.subject_key IS 'Internal key.';
COMMENT ON COLUMN pmp.subject.id IS 'Id of the user in the API.';
COMMENT ON COLUMN pmp.subject.email IS 'As sent. RFC 5321 allows 64 + 1 + 255 characters.';
COMMENT ON COLUMN pmp.subject.email_key IS 'pmp.fold_email(email): makes addresses unique regardless of case.';
COMMENT ON COLUMN pmp.subject.has_more IS
  'Whether identifier may have rows of the user. Of most users it has none, and their reads do not look there.';
COMMENT ON COLUMN pmp.subject.transaction_number IS 'Of the transaction that created the user: see create_feed.';
-- Lists of opt-outs may name people by hashes of their addresses (docs/adr/0214).
CREATE INDEX subject_digest ON pmp.subject (pmp.address_digest(email_key)) WHERE email_key IS NOT NULL;
CREATE UNIQUE INDEX subject_feed ON pmp.subject (transaction_number, subject_key);

-- Events have no foreign key to this table (see create_events); instead, rows are never removed.
CREATE TRIGGER refuse_change BEFORE DELETE OR TRUNCATE ON pmp.subject
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

GRANT SELECT ON pmp.subject TO pmp_app;
-- Reports do not need addresses.
GRANT SELECT (subject_key, id, created_at, erased_at) ON pmp.subject TO pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.fold_email TO pmp_app;
COMMIT;
