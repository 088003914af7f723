-- Deploy pmp:create_suppressions to pg
--
-- Denials of people of whom only a hash of the address is known. They become events as soon as there is a user with that
-- address (docs/adr/0214).
BEGIN;
CREATE TABLE pmp.suppression (
  id             uuid PRIMARY KEY,
  address_digest bytea NOT NULL CHECK (length(address_digest) = 32),
  occurred_at    timestamptz NOT NULL,
  received_at    timestamptz NOT NULL,
  source_key     integer NOT NULL REFERENCES pmp.source,
  has_instant    boolean NOT NULL,
  has_fraction   boolean NOT NULL,
  versions       integer[] NOT NULL,
  enabled        boolean[] NOT NULL CHECK (NOT true = ANY (enabled))
);
COMMENT ON TABLE pmp.suppression IS
  'Events that deny, of people who are not users yet. The columns are those of event; address_digest names the person.';
CREATE INDEX suppression_address ON pmp.suppression (address_digest);

CREATE FUNCTION pmp.suppression_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT hashtextextended('suppression', 0)
$$;
COMMENT ON FUNCTION pmp.suppression_lock IS
  'Key of the advisory lock that users with a new address share and an import of hashes has for itself: a denial is there before the '
  'user, or the user before the denial.';

CREATE FUNCTION pmp.apply_suppressions() RETURNS trigger
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(suppression_lock());
  IF EXISTS (SELECT FROM suppression) THEN
    WITH due AS (
      DELETE FROM suppression AS p USING added AS s WHERE p.address_digest = address_digest(s.email_key)
      RETURNING s.subject_key, p.*
    ), inserted AS (
      INSERT INTO event AS e (
        id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled
      )
      SELECT
        -- Whoever took this id meanwhile must not keep the user from being created.
        CASE
          WHEN EXISTS (SELECT FROM event AS o WHERE o.id = d.id)
            OR EXISTS (SELECT FROM removed_event AS r WHERE r.id = d.id) THEN gen_random_uuid()
          ELSE d.id
        END,
        d.subject_key, d.occurred_at, d.received_at, d.source_key, d.has_instant, d.has_fraction, d.versions, d.enabled
      FROM due AS d
      ORDER BY d.subject_key, d.received_at, d.id
      RETURNING e.*
    )
    INSERT INTO current_choice AS c (subject_key, consent_key, version_key, counts_at, sequence, enabled)
    SELECT DISTINCT ON (v.consent_key, c.subject_key)
      c.subject_key, v.consent_key, v.version_key, counts_at(c.occurred_at, c.received_at, c.has_fraction, c.enabled),
      c.sequence, c.enabled
    FROM (
      SELECT
        i.subject_key, i.occurred_at, i.received_at, i.has_fraction, i.sequence,
        unnest(i.versions) AS version_key, unnest(i.enabled) AS enabled
      FROM inserted AS i
    ) AS c
    JOIN consent_version AS v USING (version_key)
    ORDER BY v.consent_key, c.subject_key, counts_at(c.occurred_at, c.received_at, c.has_fraction, c.enabled) DESC,
      c.sequence DESC
    ON CONFLICT (consent_key, subject_key) DO UPDATE
    SET version_key = excluded.version_key, counts_at = excluded.counts_at,
        sequence = excluded.sequence, enabled = excluded.enabled
    WHERE (excluded.counts_at, NOT excluded.enabled, excluded.sequence) > (c.counts_at, NOT c.enabled, c.sequence);
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER apply_suppressions AFTER INSERT ON pmp.subject REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION pmp.apply_suppressions();
CREATE TRIGGER apply_suppressions_of_new_address AFTER UPDATE ON pmp.subject REFERENCING NEW TABLE AS added
FOR EACH ROW WHEN (new.email_key <> old.email_key) EXECUTE FUNCTION pmp.apply_suppressions();
COMMIT;
