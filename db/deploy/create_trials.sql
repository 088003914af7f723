-- Deploy pmp:create_trials to pg
--
-- What the dry runs under way have accepted so far, so that later lines of the same file are judged as in a real import.
BEGIN;
CREATE TABLE pmp.trial_event (
  import_id uuid NOT NULL REFERENCES pmp.import_job,
  id        uuid NOT NULL,
  person    bytea NOT NULL,
  told      timestamptz,
  versions  integer[] NOT NULL,
  enabled   boolean[] NOT NULL,
  context_digest bytea,
  chosen    text NOT NULL,
  PRIMARY KEY (import_id, id)
);
COMMENT ON TABLE pmp.trial_event IS
  'Events that a real import would have added. Deleted at the end of the dry run, or by housekeeping.';
COMMENT ON COLUMN pmp.trial_event.person IS
  'int8send(subject_key), or the keyed hash of an address that has no user (erasure.address_hash).';
COMMENT ON COLUMN pmp.trial_event.context_digest IS 'Of the line''s context, to compare it with a later line''s; NULL: none.';
COMMENT ON COLUMN pmp.trial_event.told IS 'The instant on the line; NULL: none.';

CREATE TABLE pmp.trial_choice (
  import_id   uuid NOT NULL REFERENCES pmp.import_job,
  person      bytea NOT NULL,
  consent_key integer NOT NULL,
  counts_at   timestamptz NOT NULL,
  enabled     boolean NOT NULL,
  PRIMARY KEY (import_id, person, consent_key)
) WITH (fillfactor = 80);
COMMENT ON TABLE pmp.trial_choice IS
  'What current_choice would be for the people of a dry run. Deleted together with trial_event.';

CREATE TABLE pmp.import_preview (
  import_id    uuid NOT NULL REFERENCES pmp.import_job,
  line         bigint NOT NULL,
  address_hash bytea,
  document     jsonb NOT NULL,
  PRIMARY KEY (import_id, line)
);
COMMENT ON TABLE pmp.import_preview IS
  'The first lines of a dry run as they were understood. Deleted a day after its end; an erasure deletes the lines with '
  'the address.';
COMMENT ON COLUMN pmp.import_preview.address_hash IS 'erasure.address_hash of the address in the document; NULL: none.';
COMMENT ON COLUMN pmp.import_preview.document IS
  '{"line", "event": {"id", "user", "consents", "occurred_at"} | null, "rejected": {"code", "pointer", "detail"} | null}.';
CREATE INDEX import_preview_address ON pmp.import_preview (address_hash);

CREATE FUNCTION pmp.context_digest(context jsonb) RETURNS bytea
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$ SELECT sha256(convert_to(context::text, 'UTF8')) $$;
COMMENT ON FUNCTION pmp.context_digest IS 'SHA-256 of a context, the same for equal ones.';

GRANT SELECT, DELETE ON pmp.trial_event, pmp.trial_choice TO pmp_app;
GRANT SELECT, INSERT, DELETE ON pmp.import_preview TO pmp_app;
COMMIT;
