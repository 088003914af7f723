-- Deploy pmp:create_events to pg
BEGIN;
CREATE TABLE pmp.event (
  sequence    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          uuid NOT NULL UNIQUE,
  -- No foreign key: only this schema's functions insert, each of them finds the key by reading the person's row, and
  -- that row can never be removed. A declared key would prove the same once more, row by row, at a third of an
  -- import's speed (docs/adr/0201).
  subject_key bigint NOT NULL,
  occurred_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  source_key  integer NOT NULL,
  has_instant boolean NOT NULL,
  versions    integer[] NOT NULL,
  enabled     boolean[] NOT NULL,
  CONSTRAINT event_pairs_choices CHECK (cardinality(versions) = cardinality(enabled) AND cardinality(versions) > 0)
);
COMMENT ON TABLE pmp.event IS 'What people chose, as it was told. Rows are only ever added.';
COMMENT ON COLUMN pmp.event.id IS 'The client''s, or made by us; the same id twice is the same event.';
COMMENT ON COLUMN pmp.event.sequence IS 'Order of arrival, in which events of one instant are listed.';
COMMENT ON COLUMN pmp.event.occurred_at IS 'When the person chose.';
COMMENT ON COLUMN pmp.event.received_at IS 'When we were told.';
COMMENT ON COLUMN pmp.event.has_instant IS 'Whether the client named occurred_at; part of comparing a repeated event.';
COMMENT ON COLUMN pmp.event.versions IS 'consent_version.version_key of each choice, in the order they were sent.';
COMMENT ON COLUMN pmp.event.enabled IS 'The choice for the consent at the same place of versions.';
CREATE INDEX event_history ON pmp.event (subject_key, occurred_at, sequence);

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON pmp.event
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

CREATE TABLE pmp.current_choice (
  subject_key bigint NOT NULL,
  consent_key integer NOT NULL,
  version_key integer NOT NULL,
  occurred_at timestamptz NOT NULL,
  sequence    bigint NOT NULL,
  enabled     boolean NOT NULL,
  -- By consent first: one index serves both a person's choices (a probe for each consent of the catalogue) and the
  -- people of one consent. No other column is indexed, so a change of mind is a heap-only update.
  PRIMARY KEY (consent_key, subject_key)
) WITH (fillfactor = 80);
COMMENT ON TABLE pmp.current_choice IS
  'The fold of each person''s events, kept up to date by every write. Of two events the later occurred_at wins; at the '
  'same instant a denial wins; then the one that arrived last. That order is total, so it does not matter in which '
  'order events arrive, and the table always equals a replay.';

GRANT SELECT ON pmp.event, pmp.current_choice TO pmp_app, pmp_readonly;
COMMIT;
