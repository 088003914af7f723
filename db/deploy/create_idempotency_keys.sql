-- Deploy pmp:create_idempotency_keys to pg
BEGIN;
CREATE TABLE pmp.idempotency_key (
  client      text NOT NULL,
  key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  fingerprint bytea NOT NULL,
  status      integer NOT NULL,
  headers     jsonb NOT NULL,
  body        text,
  subject_key bigint,
  expires_at  timestamptz NOT NULL DEFAULT now() + interval '24 hours',
  PRIMARY KEY (client, key)
);
COMMENT ON TABLE pmp.idempotency_key IS 'Responses to POST requests with an Idempotency-Key, replayed for 24 hours.';
COMMENT ON COLUMN pmp.idempotency_key.fingerprint IS
  'Hash of operation, path, query and body: a key reused for another request is refused.';
COMMENT ON COLUMN pmp.idempotency_key.body IS 'NULL: removed, because its user was erased.';
COMMENT ON COLUMN pmp.idempotency_key.subject_key IS 'The user whom the response is about; NULL: about nobody.';
CREATE INDEX idempotency_key_expiry ON pmp.idempotency_key (expires_at);
-- An erasure finds the user's responses among those of all users.
CREATE INDEX idempotency_key_subject ON pmp.idempotency_key (subject_key) WHERE subject_key IS NOT NULL;

CREATE FUNCTION pmp.idempotency_begin(client text, key text, fingerprint bytea) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  -- A transaction lock, not a session lock, because a pooler may give the session to another client. If the Lambda
  -- dies, the lock ends with its transaction, so no key stays "in flight" without a worker.
  IF NOT pg_try_advisory_xact_lock(hashtextextended($1 || E'\x1f' || $2, 0)) THEN
    RETURN '{"state": "in_flight"}';
  END IF;
  RETURN (
    SELECT CASE
      WHEN i.fingerprint <> $3 THEN '{"state": "mismatch"}'
      WHEN i.body IS NULL THEN '{"state": "erased"}'
      ELSE jsonb_build_object('state', 'done', 'status', i.status, 'headers', i.headers, 'body', i.body)
    END
    FROM idempotency_key AS i WHERE i.client = $1 AND i.key = $2 AND i.expires_at > now()
  );
END
$$;
COMMENT ON FUNCTION pmp.idempotency_begin IS
  'Call first in the transaction of a POST with a key. NULL: do the work, then call idempotency_finish in the same '
  'transaction. Else {"state": "done", "status", "headers", "body"}, {"state": "mismatch"}, {"state": "in_flight"} or '
  '{"state": "erased"}: the request was performed, and its user was erased.';

CREATE FUNCTION pmp.idempotency_finish(
  client text, key text, fingerprint bytea, status integer, headers jsonb, body text, user_id uuid DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO idempotency_key (client, key, fingerprint, status, headers, body, subject_key)
  VALUES ($1, $2, $3, $4, $5, $6, (SELECT s.subject_key FROM subject AS s WHERE s.id = $7))
  ON CONFLICT (client, key) DO UPDATE
  SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers, body = excluded.body,
      subject_key = excluded.subject_key, expires_at = excluded.expires_at;
END
$$;
COMMENT ON FUNCTION pmp.idempotency_finish IS
  'Store the response to a request with an Idempotency-Key; user_id: the user whom it is about.';

CREATE FUNCTION pmp.delete_expired_keys(most integer) RETURNS bigint
LANGUAGE sql SET search_path = pmp, pg_temp AS $$
  -- By ctid: DELETE knows no LIMIT, and a join by the primary key would read its index in random order.
  WITH deleted AS (
    DELETE FROM idempotency_key
    WHERE ctid = ANY (ARRAY(
      SELECT i.ctid FROM idempotency_key AS i WHERE i.expires_at <= now()
      ORDER BY i.expires_at LIMIT most FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION pmp.delete_expired_keys IS 'Delete up to "most" expired rows; returns their number.';

GRANT SELECT, INSERT, UPDATE, DELETE ON pmp.idempotency_key TO pmp_app;
GRANT EXECUTE ON FUNCTION pmp.idempotency_begin, pmp.idempotency_finish, pmp.delete_expired_keys TO pmp_app;
COMMIT;
