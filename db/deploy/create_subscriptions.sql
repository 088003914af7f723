-- Deploy pmp:create_subscriptions to pg
--
-- Who is told of changes, and how far (docs/adr/0225). A receiver has a place in the feed of events, as any reader has,
-- so a write adds nothing here.
BEGIN;
CREATE TABLE pmp.subscription (
  subscription_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id             uuid NOT NULL UNIQUE,
  url            text NOT NULL CHECK (length(url) <= 2048),
  description    text NOT NULL,
  consents       text[] CHECK (cardinality(consents) > 0),
  client         text NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_by     text,
  updated_at     timestamptz NOT NULL DEFAULT now(),
  is_enabled     boolean NOT NULL,
  stopped        text CHECK (stopped IN ('gone', 'failed')),
  secret_number  integer NOT NULL DEFAULT 1 CHECK (secret_number > 0),
  previous_until timestamptz,
  deleted_by     text,
  deleted_at     timestamptz,
  CONSTRAINT subscription_is_stopped_or_enabled CHECK (NOT is_enabled OR (stopped IS NULL AND deleted_at IS NULL))
);
COMMENT ON TABLE pmp.subscription IS
  'A receiver of changes. A deleted one keeps its row, because the ledger says what it was told.';
COMMENT ON COLUMN pmp.subscription.consents IS 'Ids of the consents it is told about; NULL: all. Never changed.';
COMMENT ON COLUMN pmp.subscription.client IS 'OAuth client that created it.';
COMMENT ON COLUMN pmp.subscription.updated_by IS
  'OAuth client of the newest change, rotation or replay; NULL: it is as it was created.';
COMMENT ON COLUMN pmp.subscription.stopped IS
  'Why PMP disabled it: the receiver answered 410 (gone), or failed for too long. NULL: it did not.';
COMMENT ON COLUMN pmp.subscription.secret_number IS
  'The secret is derived from this number, the id and a key in Secrets Manager: it is stored nowhere (docs/adr/0226).';
COMMENT ON COLUMN pmp.subscription.previous_until IS 'Until then, messages are also signed with the secret before.';

CREATE TABLE pmp.delivery_lane (
  subscription_key integer NOT NULL REFERENCES pmp.subscription,
  lane             text NOT NULL CHECK (lane IN ('prompt', 'bulk', 'notices')),
  number           bigint NOT NULL,
  sequence         bigint NOT NULL,
  pass             integer NOT NULL DEFAULT 1,
  pending_id       uuid,
  pending_number   bigint,
  pending_sequence bigint,
  failures         integer NOT NULL DEFAULT 0,
  failing_since    timestamptz,
  next_attempt_at  timestamptz NOT NULL DEFAULT now(),
  last_error       text,
  acknowledged_at  timestamptz,
  lease_owner      uuid,
  lease_until      timestamptz,
  PRIMARY KEY (subscription_key, lane),
  CONSTRAINT delivery_lane_is_pending CHECK (num_nulls(pending_id, pending_number, pending_sequence) IN (0, 3))
) WITH (fillfactor = 50);
COMMENT ON TABLE pmp.delivery_lane IS
  'How far a receiver was told. Lanes do not wait for each other: bulk has the events of imports that deny nothing, '
  'prompt all other events, notices what is not an event.';
COMMENT ON COLUMN pmp.delivery_lane.number IS
  'With sequence, the place in the feed up to which everything was acknowledged.';
COMMENT ON COLUMN pmp.delivery_lane.pass IS 'One more with each replay.';
COMMENT ON COLUMN pmp.delivery_lane.pending_id IS
  'The message that is being sent, with all up to (pending_number, pending_sequence). An attempt after a failure, or '
  'after a process that was killed, sends the same changes under the same id.';
COMMENT ON COLUMN pmp.delivery_lane.lease_owner IS 'The invocation that works on the lane until lease_until.';

CREATE TABLE pmp.delivery (
  subscription_key integer NOT NULL REFERENCES pmp.subscription,
  lane            text NOT NULL,
  pass            integer NOT NULL,
  number          bigint NOT NULL,
  sequence        bigint NOT NULL,
  after_number    bigint NOT NULL,
  after_sequence  bigint NOT NULL,
  acknowledged_at timestamptz NOT NULL,
  PRIMARY KEY (subscription_key, lane, pass, number, sequence)
);
COMMENT ON TABLE pmp.delivery IS
  'The ledger: an acknowledged message had what the subscription is told of, after one place in the feed and up to '
  'another. It names nobody, so an erasure leaves it.';

CREATE TABLE pmp.notice (
  transaction_number bigint NOT NULL DEFAULT pmp.transaction_number(),
  sequence    bigint GENERATED ALWAYS AS IDENTITY,
  id          uuid NOT NULL DEFAULT gen_random_uuid(),
  type        text NOT NULL CHECK (type IN ('user.erased', 'import.ended', 'export.ended')),
  subject_id  uuid NOT NULL,
  document    jsonb NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (transaction_number, sequence)
);
COMMENT ON TABLE pmp.notice IS 'What receivers are told besides events; read as a feed, as events are.';
COMMENT ON COLUMN pmp.notice.subject_id IS 'Id of the user, import or export.';
CREATE INDEX notice_subject ON pmp.notice (subject_id) WHERE type = 'user.erased';
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON pmp.notice
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

CREATE FUNCTION pmp.notice_erasure() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  INSERT INTO notice (type, subject_id, document)
  VALUES ('user.erased', new.id, jsonb_build_object('user', jsonb_build_object('id', new.id), 'erased_at', instant(new.erased_at)));
  RETURN NULL;
END
$$;
CREATE TRIGGER notice_erasure AFTER UPDATE OF erased_at ON pmp.subject
FOR EACH ROW WHEN (old.erased_at IS NULL AND new.erased_at IS NOT NULL) EXECUTE FUNCTION pmp.notice_erasure();

CREATE FUNCTION pmp.notice_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  INSERT INTO notice (type, subject_id, document)
  VALUES (tg_argv[0], new.id, jsonb_build_object('id', new.id, 'state', new.state));
  RETURN NULL;
END
$$;
-- Not of parts, and not of dry runs: nothing has changed.
CREATE TRIGGER notice_end AFTER UPDATE OF state ON pmp.import_job
FOR EACH ROW WHEN (
  old.finished_at IS NULL AND new.finished_at IS NOT NULL AND new.parent_id IS NULL AND NOT new.dry_run
) EXECUTE FUNCTION pmp.notice_end('import.ended');
CREATE TRIGGER notice_end AFTER UPDATE OF state ON pmp.export_job
FOR EACH ROW WHEN (old.finished_at IS NULL AND new.finished_at IS NOT NULL) EXECUTE FUNCTION pmp.notice_end('export.ended');

CREATE TABLE pmp.delivery_chain (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  owner   uuid NOT NULL,
  link    bigint NOT NULL,
  until   timestamptz NOT NULL
);
COMMENT ON TABLE pmp.delivery_chain IS
  'The chain of messages that look for changes, in one row: its next link, and until when it counts as alive.';
INSERT INTO pmp.delivery_chain (owner, link, until) VALUES (gen_random_uuid(), 0, '-infinity');

-- A place in the feed may be beyond all events. The numbers after a restore have to be above it.
CREATE OR REPLACE FUNCTION pmp.highest_number() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT greatest(
    0, (SELECT max(s.transaction_number) FROM subject AS s), (SELECT max(e.transaction_number) FROM event AS e),
    (SELECT max(n.transaction_number) FROM notice AS n), (SELECT max(l.number) FROM delivery_lane AS l)
  )
$$;

GRANT SELECT, INSERT, UPDATE ON pmp.subscription, pmp.delivery_lane TO pmp_app;
GRANT SELECT, INSERT ON pmp.delivery TO pmp_app;
GRANT SELECT ON pmp.notice TO pmp_app;
GRANT SELECT, UPDATE ON pmp.delivery_chain TO pmp_app;
GRANT SELECT ON pmp.subscription, pmp.delivery_lane, pmp.delivery, pmp.notice, pmp.delivery_chain TO pmp_readonly;
COMMIT;
