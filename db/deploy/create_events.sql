-- Deploy pmp:create_events to pg
BEGIN;
CREATE TABLE pmp.event (
  sequence    bigint GENERATED ALWAYS AS IDENTITY,
  transaction_number bigint NOT NULL,
  id          uuid NOT NULL UNIQUE,
  -- No foreign key: only this schema's functions insert, each reads the key from the subject's row, and that row is
  -- never removed. A declared key would check the same again for every row and cost a third of an import's speed
  -- (docs/adr/0201).
  subject_key bigint NOT NULL,
  occurred_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  source_key  integer NOT NULL,
  has_instant boolean NOT NULL,
  has_fraction boolean NOT NULL,
  has_context boolean NOT NULL DEFAULT false,
  versions    integer[] NOT NULL,
  enabled     boolean[] NOT NULL,
  -- Text, empty for no value: as an array that is NULL it would add eight bytes to each event (a row with a NULL has a
  -- bitmap), and hardly any event has values.
  chosen      text NOT NULL DEFAULT '',
  -- The order of the feed (see create_feed). Nothing looks for a sequence alone.
  PRIMARY KEY (transaction_number, sequence),
  CONSTRAINT event_pairs_choices CHECK (cardinality(versions) = cardinality(enabled) AND cardinality(versions) > 0)
)
-- Autovacuum freezes each page once, soon after it is full, and never has to write the whole table (docs/adr/0232).
WITH (
  autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.01,
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_freeze_min_age = 0
);
COMMENT ON TABLE pmp.event IS 'Choices of users as they were received. Append-only.';
COMMENT ON COLUMN pmp.event.id IS 'Chosen by the client, or generated. The same id is the same event.';
COMMENT ON COLUMN pmp.event.sequence IS 'Order of arrival; breaks ties between events of the same instant.';
COMMENT ON COLUMN pmp.event.transaction_number IS 'Of the transaction that added the event: see create_feed.';
COMMENT ON COLUMN pmp.event.occurred_at IS 'When the user made the choice, as the client sent it; otherwise received_at.';
COMMENT ON COLUMN pmp.event.received_at IS 'When the event was received.';
COMMENT ON COLUMN pmp.event.has_instant IS 'Whether the client sent occurred_at; compared when an event is repeated.';
COMMENT ON COLUMN pmp.event.has_fraction IS 'Whether occurred_at has a fraction of a second; if not, it covers its second.';
COMMENT ON COLUMN pmp.event.has_context IS 'Whether it was sent with a context: see event_context, from which an erasure removes it.';
COMMENT ON COLUMN pmp.event.versions IS 'consent_version.version_key of each choice, in the order sent.';
COMMENT ON COLUMN pmp.event.enabled IS 'The choice at the same position in versions.';
-- An expression instead of a column: eight bytes a row less. No choice of an event counts before it.
CREATE INDEX event_history ON pmp.event (subject_key, (least(occurred_at, received_at)), sequence);

COMMENT ON COLUMN pmp.event.chosen IS
  'The values of the grants, as the literal of an array by their places in versions: see chosen_values. Empty: none has one.';

CREATE FUNCTION pmp.chosen_values(chosen text) RETURNS jsonb[]
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT nullif(chosen, '')::jsonb[]
$$;
COMMENT ON FUNCTION pmp.chosen_values IS
  'The value of each choice of an event, a string or an array of strings, or NULL; NULL instead of the array: no choice '
  'has one.';

CREATE FUNCTION pmp.fits(value jsonb, allowed jsonb, multiple boolean) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF multiple THEN
    RETURN coalesce(jsonb_typeof(value) = 'array' AND allowed @> (
      SELECT jsonb_agg(jsonb_build_object('id', one)) FROM jsonb_array_elements(value) AS one
    ), false);
  END IF;
  RETURN coalesce(jsonb_typeof(value) = 'string' AND allowed @> jsonb_build_array(jsonb_build_object('id', value)), false);
END
$$;
COMMENT ON FUNCTION pmp.fits IS
  'Whether a version of a consent, by its allowed_values and multiple, takes this value of a grant.';

CREATE FUNCTION pmp.counts_at(
  occurred_at timestamptz, received_at timestamptz, has_fraction boolean, enabled boolean
) RETURNS timestamptz
-- Adding an interval is STABLE. Declared as more than that, the function would not be inlined.
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT least(
    CASE WHEN has_fraction OR enabled THEN occurred_at ELSE occurred_at + interval '999999 microseconds' END, received_at
  )
$$;
COMMENT ON FUNCTION pmp.counts_at IS
  'The instant at which a choice counts: when it was made, but never after its receipt. An instant without a fraction '
  'of a second covers its second, in which a denial counts at the end and a grant at the start.';

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON pmp.event
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

CREATE FUNCTION pmp.is_same_event(
  known pmp.event, subject_key bigint, told timestamptz, keys integer[], answers boolean[], chosen text, named integer[]
) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN known.subject_key = $2
    AND known.has_instant = (told IS NOT NULL)
    AND (told IS NULL OR told = known.occurred_at)
    AND known.enabled = answers
    AND pmp.chosen_values(known.chosen) IS NOT DISTINCT FROM pmp.chosen_values($6)
    AND coalesce(named, '{}') <@ known.versions
    -- Where the client named no version, a newer one may have come since.
    AND (known.versions = keys OR ARRAY(
      SELECT v.consent_key FROM unnest(known.versions) WITH ORDINALITY AS k (version_key, place)
      JOIN pmp.consent_version AS v USING (version_key) ORDER BY k.place
    ) = ARRAY(
      SELECT v.consent_key FROM unnest(keys) WITH ORDINALITY AS k (version_key, place)
      JOIN pmp.consent_version AS v USING (version_key) ORDER BY k.place
    ));
END
$$;
COMMENT ON FUNCTION pmp.is_same_event IS
  'Whether an event that is sent with the id of a known one has the same content. told NULL: the client told no instant; '
  'keys: consent_version.version_key of each choice; named: those of them whose version the client named.';

CREATE TABLE pmp.event_context (
  subject_key bigint NOT NULL,
  sequence    bigint NOT NULL,
  context     jsonb NOT NULL CHECK (jsonb_typeof(context) = 'object' AND octet_length(context::text) <= 16384),
  PRIMARY KEY (subject_key, sequence)
) WITH (autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_freeze_min_age = 0);
COMMENT ON TABLE pmp.event_context IS
  'How and where a user made the choices of an event: proof of the consent, and personal data. In a table of its own, '
  'because an erasure deletes it and keeps the event.';
CREATE TRIGGER refuse_change BEFORE UPDATE OR TRUNCATE ON pmp.event_context
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

CREATE TABLE pmp.current_choice (
  subject_key bigint NOT NULL,
  consent_key integer NOT NULL,
  version_key integer NOT NULL,
  counts_at   timestamptz NOT NULL,
  sequence    bigint NOT NULL,
  enabled     boolean NOT NULL,
  value       jsonb,
  -- Consent first: one index finds both a user's choices (one probe per consent in the catalogue) and the users of a
  -- consent. No other column is indexed, so a changed choice is a heap-only update.
  PRIMARY KEY (consent_key, subject_key)
) WITH (
  fillfactor = 90, autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.01,
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_freeze_min_age = 0
);
COMMENT ON TABLE pmp.current_choice IS
  'The fold of each user''s events, updated by every write. The later counts_at wins; at the same instant a denial '
  'wins, then the event that arrived last. This order is total, so the order of arrival does not matter, and the table '
  'always equals a replay.';

COMMENT ON COLUMN pmp.current_choice.value IS 'The value of a grant: a string or an array of strings; NULL: none.';

GRANT SELECT ON pmp.event, pmp.current_choice TO pmp_app, pmp_readonly;
-- Reports do not need network addresses.
GRANT SELECT ON pmp.event_context TO pmp_app;
GRANT EXECUTE ON FUNCTION pmp.counts_at, pmp.chosen_values TO pmp_app, pmp_readonly;
COMMIT;
