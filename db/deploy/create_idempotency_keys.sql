-- Deploy pmp:create_idempotency_keys to pg
BEGIN;
CREATE TABLE pmp.idempotency_key (
  client      text NOT NULL,
  key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  fingerprint bytea NOT NULL,
  status      integer NOT NULL,
  headers     jsonb NOT NULL,
  body        text NOT NULL,
  expires_at  timestamptz NOT NULL DEFAULT now() + interval '24 hours',
  PRIMARY KEY (client, key)
);
COMMENT ON TABLE pmp.idempotency_key IS 'Responses to POST requests with an Idempotency-Key, replayed for 24 hours.';
COMMENT ON COLUMN pmp.idempotency_key.fingerprint IS
  'Hash of operation, path, query and body: a key reused for another request is refused.';
CREATE INDEX idempotency_key_expiry ON pmp.idempotency_key (expires_at);

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
      WHEN i.fingerprint = $3
      THEN jsonb_build_object('state', 'done', 'status', i.status, 'headers', i.headers, 'body', i.body)
      ELSE '{"state": "mismatch"}'
    END
    FROM idempotency_key AS i WHERE i.client = $1 AND i.key = $2 AND i.expires_at > now()
  );
END
$$;
COMMENT ON FUNCTION pmp.idempotency_begin IS
  'Call first in the transaction of a POST with a key. NULL: do the work, then call idempotency_finish in the same '
  'transaction. Else {"state": "done", "status", "headers", "body"}, {"state": "mismatch"} or {"state": "in_flight"}.';

CREATE FUNCTION pmp.idempotency_finish(
  client text, key text, fingerprint bytea, status integer, headers jsonb, body text
) RETURNS void
LANGUAGE sql SET search_path = pmp, pg_temp AS $$
  INSERT INTO idempotency_key (client, key, fingerprint, status, headers, body)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (client, key) DO UPDATE
  SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers, body = excluded.body,
      expires_at = excluded.expires_at
$$;
COMMENT ON FUNCTION pmp.idempotency_finish IS 'Store the response to a request with an Idempotency-Key.';

CREATE FUNCTION pmp.housekeeping() RETURNS jsonb
LANGUAGE sql SET search_path = pmp, pg_temp AS $$
  WITH expired AS (DELETE FROM idempotency_key WHERE expires_at <= now() RETURNING 1)
  SELECT jsonb_build_object('idempotency_keys', (SELECT count(*) FROM expired))
$$;
COMMENT ON FUNCTION pmp.housekeeping IS 'Delete expired rows. Returns their number: {"idempotency_keys"}.';

GRANT SELECT, INSERT, UPDATE, DELETE ON pmp.idempotency_key TO pmp_app;
GRANT EXECUTE ON FUNCTION pmp.idempotency_begin, pmp.idempotency_finish, pmp.housekeeping TO pmp_app;
COMMIT;
