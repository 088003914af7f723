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
  merged_into bigint,
  merged_at   timestamptz,
  merged_by   integer REFERENCES pmp.source,
  transaction_number bigint NOT NULL,
  CONSTRAINT subject_has_email_until_erased CHECK (
    CASE WHEN merged_into IS NULL THEN (email IS NULL) = (erased_at IS NOT NULL) ELSE num_nonnulls(email, erased_at) < 2 END
    AND (erased_at IS NULL) = (erased_by IS NULL)
  ),
  CONSTRAINT subject_is_merged_by_somebody CHECK (
    num_nonnulls(merged_into, merged_at, merged_by) IN (0, 3) AND merged_into <> subject_key
  )
) WITH (autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_freeze_min_age = 0);
COMMENT ON TABLE pmp.subject IS
  'A user. Erasure removes the email address and keeps the row: a pseudonym that the events refer to.';
COMMENT ON COLUMN pmp.subject.subject_key IS 'Internal key.';
COMMENT ON COLUMN pmp.subject.id IS 'Id of the user in the API.';
COMMENT ON COLUMN pmp.subject.email IS 'As sent. RFC 5321 allows 64 + 1 + 255 characters.';
COMMENT ON COLUMN pmp.subject.email_key IS 'pmp.fold_email(email): makes addresses unique regardless of case.';
COMMENT ON COLUMN pmp.subject.has_more IS
  'Whether there may be rows in identifier, or merged users. Of most users there are none, and reads do not look there.';
COMMENT ON COLUMN pmp.subject.merged_into IS
  'subject_key of the user who has the events, choices and identifiers of this one now (docs/adr/0222); never that of '
  'another merged user. The id and the address of this row lead there.';
COMMENT ON COLUMN pmp.subject.transaction_number IS 'Of the transaction that created the user: see create_feed.';
-- Lists of opt-outs may name people by hashes of their addresses (docs/adr/0214).
CREATE INDEX subject_digest ON pmp.subject (pmp.address_digest(email_key)) WHERE email_key IS NOT NULL;
CREATE UNIQUE INDEX subject_feed ON pmp.subject (transaction_number, subject_key);

CREATE INDEX subject_merged ON pmp.subject (merged_into) WHERE merged_into IS NOT NULL;

CREATE FUNCTION pmp.find_subject(user_id uuid) RETURNS pmp.subject
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id;
  IF person.merged_into IS NOT NULL THEN
    SELECT * INTO person FROM subject AS s WHERE s.subject_key = person.merged_into;
  END IF;
  RETURN person;
END
$$;
COMMENT ON FUNCTION pmp.find_subject IS 'The user with an id, or into whom the user with this id was merged; NULL: nobody.';

CREATE FUNCTION pmp.take_turn(subject_key bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  FOR place IN 1..2 LOOP
    IF pg_try_advisory_xact_lock(place, hashint8(subject_key)) THEN
      RETURN;
    END IF;
  END LOOP;
  RAISE EXCEPTION 'too many transactions wait for one user' USING ERRCODE = 'lock_not_available';
END
$$;
COMMENT ON FUNCTION pmp.take_turn IS
  'Called by what is about to wait for the row of a user: raises 55P03 if two transactions hold or await it, so that the '
  'writers of one user leave the pool to others. The client comes again.';

CREATE FUNCTION pmp.lock_subject(user_id uuid, is_limited boolean DEFAULT true) RETURNS pmp.subject
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  LOOP
    person := find_subject(user_id);
    EXIT WHEN person.subject_key IS NULL;
    IF is_limited THEN
      PERFORM take_turn(person.subject_key);
    END IF;
    -- Everybody locks merged users first, and in one order.
    PERFORM FROM subject AS s WHERE s.merged_into = person.subject_key ORDER BY s.subject_key FOR NO KEY UPDATE;
    SELECT * INTO person FROM subject AS s
    WHERE s.subject_key = person.subject_key AND s.merged_into IS NULL FOR NO KEY UPDATE;
    -- Otherwise the user was merged into another one meanwhile.
    EXIT WHEN FOUND;
  END LOOP;
  RETURN person;
END
$$;
COMMENT ON FUNCTION pmp.lock_subject IS
  'As find_subject. Until the end of the transaction, nobody else changes, erases or merges this user, or adds events to '
  'it, except imports. is_limited: see take_turn.';

CREATE FUNCTION pmp.subject_keys(subject_key bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT CASE
      WHEN s.has_more THEN
        s.subject_key || ARRAY(SELECT m.subject_key FROM subject AS m WHERE m.merged_into = s.subject_key)
      ELSE ARRAY[s.subject_key]
    END
    FROM subject AS s WHERE s.subject_key = $1 AND s.merged_into IS NULL
  );
END
$$;
COMMENT ON FUNCTION pmp.subject_keys IS
  'Whose events are those of a user: the user''s own key first, then those of the users merged into this one; NULL if the '
  'user itself was merged.';

-- Events have no foreign key to this table (see create_events); instead, rows are never removed.
CREATE TRIGGER refuse_change BEFORE DELETE OR TRUNCATE ON pmp.subject
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

GRANT SELECT ON pmp.subject TO pmp_app;
-- Reports do not need addresses.
GRANT SELECT (subject_key, id, created_at, erased_at, has_more, merged_into) ON pmp.subject TO pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.fold_email, pmp.find_subject, pmp.subject_keys TO pmp_app;
GRANT EXECUTE ON FUNCTION pmp.subject_keys TO pmp_readonly;
COMMIT;
