-- Deploy pmp:create_idempotency_keys to pg
BEGIN;
CREATE TABLE pmp.idempotency_key (
  client      text NOT NULL,
  key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  fingerprint bytea NOT NULL,
  status      integer NOT NULL,
  headers     json NOT NULL,
  body        text NOT NULL,
  subject_key bigint,
  expires_at  timestamptz NOT NULL DEFAULT now() + interval '24 hours',
  PRIMARY KEY (client, key)
);
COMMENT ON TABLE pmp.idempotency_key IS 'The answer to a POST that carried an Idempotency-Key, given again for a day.';
COMMENT ON COLUMN pmp.idempotency_key.fingerprint IS 'Hash of method, path and body: the same key for another request is refused.';
COMMENT ON COLUMN pmp.idempotency_key.subject_key IS 'The person the answer tells about; erasure removes it.';
CREATE INDEX idempotency_key_expiry ON pmp.idempotency_key (expires_at);
CREATE INDEX idempotency_key_subject ON pmp.idempotency_key (subject_key) WHERE subject_key IS NOT NULL;

CREATE FUNCTION pmp.claim_idempotency_key(client text, key text, fingerprint bytea)
RETURNS TABLE (outcome text, status integer, headers json, body text)
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
#variable_conflict use_column
BEGIN
  -- A lock of the transaction, not of the session: a pooler may hand the session to somebody else. If the Lambda dies
  -- the lock goes with its transaction, so nothing stays "in flight" that nobody works on.
  IF NOT pg_try_advisory_xact_lock(hashtextextended($1 || E'\x1f' || $2, 0)) THEN
    RETURN QUERY SELECT 'in_flight', NULL::integer, NULL::json, NULL::text;
    RETURN;
  END IF;
  RETURN QUERY
    SELECT CASE WHEN i.fingerprint = $3 THEN 'replay' ELSE 'mismatch' END, i.status, i.headers, i.body
    FROM idempotency_key AS i WHERE i.client = $1 AND i.key = $2 AND i.expires_at > now();
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'new', NULL::integer, NULL::json, NULL::text;
  END IF;
END
$$;
COMMENT ON FUNCTION pmp.claim_idempotency_key IS
  'First statement of the transaction of a POST with a key. Outcome: new (go on, then keep_answer in the same '
  'transaction), replay (give this answer), mismatch (422) or in_flight (409).';

CREATE FUNCTION pmp.keep_answer(
  client text, key text, fingerprint bytea, status integer, headers json, body text, user_id uuid
) RETURNS void
LANGUAGE sql SET search_path = pmp, pg_temp AS $$
  INSERT INTO idempotency_key AS i (client, key, fingerprint, status, headers, body, subject_key)
  VALUES ($1, $2, $3, $4, $5, $6, (SELECT s.subject_key FROM subject AS s WHERE s.id = $7))
  ON CONFLICT (client, key) DO UPDATE
  SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers, body = excluded.body,
      subject_key = excluded.subject_key, expires_at = excluded.expires_at
$$;
COMMENT ON FUNCTION pmp.keep_answer IS 'Keep the answer to a request with an Idempotency-Key; user_id: whom it tells about.';

GRANT SELECT, INSERT, UPDATE, DELETE ON pmp.idempotency_key TO pmp_app;
GRANT EXECUTE ON FUNCTION pmp.claim_idempotency_key, pmp.keep_answer TO pmp_app;
COMMIT;
