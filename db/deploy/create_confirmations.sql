-- Deploy pmp:create_confirmations to pg
--
-- Double opt-in: what a user was asked to confirm. It counts as no until the user has confirmed it (docs/adr/0112).
BEGIN;
CREATE TABLE pmp.confirmation (
  id           uuid PRIMARY KEY,
  subject_key  bigint NOT NULL,
  versions     integer[] NOT NULL CHECK (cardinality(versions) > 0),
  source_key   integer NOT NULL REFERENCES pmp.source,
  context      jsonb CHECK (jsonb_typeof(context) = 'object' AND octet_length(context::text) <= 16384),
  asked_at     timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  confirmed_at timestamptz
);
COMMENT ON TABLE pmp.confirmation IS
  'Grants that a user was asked to confirm. Deleted after they have expired, or by the erasure of the user.';
COMMENT ON COLUMN pmp.confirmation.id IS 'Named by the token, and the id of the event that records the grants.';
COMMENT ON COLUMN pmp.confirmation.versions IS 'consent_version.version_key of each grant: the wording that was in force when the user was asked.';
COMMENT ON COLUMN pmp.confirmation.context IS 'How and where the user asked for it, as the client told.';
CREATE INDEX confirmation_subject ON pmp.confirmation (subject_key, asked_at);
CREATE INDEX confirmation_expiry ON pmp.confirmation (expires_at);

CREATE FUNCTION pmp.is_pending(subject_key bigint, consent_key integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM confirmation AS f
    WHERE f.subject_key = $1 AND f.confirmed_at IS NULL AND f.expires_at > now()
      AND EXISTS (
        SELECT FROM consent_version AS v WHERE v.version_key = ANY (f.versions) AND v.consent_key = $2
      )
      -- Whoever has said no since is not waiting any more.
      AND NOT EXISTS (
        SELECT FROM current_choice AS c
        WHERE c.consent_key = $2 AND c.subject_key = $1 AND NOT c.enabled AND c.counts_at >= f.asked_at
      )
  );
END
$$;
COMMENT ON FUNCTION pmp.is_pending IS
  'Whether a grant waits for the confirmation of the user, who has not denied the consent since.';

CREATE FUNCTION pmp.delete_expired_confirmations(most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
  WITH deleted AS (
    DELETE FROM confirmation
    WHERE ctid = ANY (ARRAY(
      SELECT f.ctid FROM confirmation AS f WHERE f.expires_at <= now()
      ORDER BY f.expires_at LIMIT most FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION pmp.delete_expired_confirmations IS 'Delete up to "most" expired rows; returns their number.';

GRANT SELECT ON pmp.confirmation TO pmp_app;
GRANT EXECUTE ON FUNCTION pmp.is_pending, pmp.delete_expired_confirmations TO pmp_app;
COMMIT;
