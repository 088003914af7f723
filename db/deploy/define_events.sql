-- Deploy pmp:define_events to pg
BEGIN;
CREATE FUNCTION pmp.record_event(
  event_id uuid, user_id uuid, happened_at timestamptz, consent_ids text[], choices boolean[],
  consent_versions integer[], client text
) RETURNS TABLE (
  outcome text, "position" integer, id uuid, occurred_at timestamptz, received_at timestamptz, source text, consents json
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
#variable_conflict use_column
DECLARE
  person subject;
  known event;
  keys integer[];
  missing record;
  told timestamptz;
BEGIN
  -- Writers of one person take turns. It gives an event without an instant its place behind all others, and an
  -- erasure either sees this event or is seen by it.
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id FOR NO KEY UPDATE;
  IF person.subject_key IS NULL THEN
    RETURN QUERY SELECT 'unknown_user', NULL::integer, event_id, NULL::timestamptz, NULL::timestamptz, NULL, NULL::json;
    RETURN;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN QUERY SELECT 'erased_user', NULL::integer, event_id, NULL::timestamptz, NULL::timestamptz, NULL, NULL::json;
    RETURN;
  END IF;

  -- The version asked for, else the newest.
  SELECT array_agg(v.version_key ORDER BY asked.place) INTO keys
  FROM unnest(consent_ids, consent_versions) WITH ORDINALITY AS asked (consent_id, version, place)
  LEFT JOIN LATERAL (
    SELECT v.version_key FROM consent AS k JOIN consent_version AS v USING (consent_key)
    WHERE k.id = asked.consent_id AND v.version = coalesce(asked.version, v.version)
    ORDER BY v.version DESC LIMIT 1
  ) AS v ON true;
  IF array_position(keys, NULL) IS NOT NULL THEN
    SELECT array_position(keys, NULL) AS place INTO missing;
    RETURN QUERY SELECT
      CASE WHEN EXISTS (SELECT FROM consent AS k WHERE k.id = consent_ids[missing.place])
        THEN 'unknown_version' ELSE 'unknown_consent' END,
      missing.place - 1, event_id, NULL::timestamptz, NULL::timestamptz, NULL, NULL::json;
    RETURN;
  END IF;

  told := clock_timestamp();
  IF happened_at > told + interval '5 minutes' THEN
    RETURN QUERY SELECT 'in_future', NULL::integer, event_id, happened_at, told, NULL, NULL::json;
    RETURN;
  END IF;

  INSERT INTO event AS e (id, subject_key, occurred_at, received_at, source_key, has_instant, versions, enabled)
  SELECT
    event_id, person.subject_key,
    -- Without an instant: now, and after everything that is known of this person, also where another client's clock
    -- ran ahead. A choice that somebody just made must not lose to a clock.
    coalesce(happened_at, greatest(told, (
      SELECT max(c.occurred_at) + interval '1 microsecond' FROM current_choice AS c
      WHERE c.subject_key = person.subject_key
    ))),
    told, source_key(client), happened_at IS NOT NULL, keys, choices
  ON CONFLICT (id) DO NOTHING
  RETURNING * INTO known;

  IF known.id IS NULL THEN
    SELECT * INTO STRICT known FROM event AS e WHERE e.id = event_id;
    RETURN QUERY
      SELECT
        CASE WHEN known.subject_key = person.subject_key
          AND known.has_instant = (happened_at IS NOT NULL)
          AND (happened_at IS NULL OR happened_at = known.occurred_at)
          AND known.enabled = choices
          -- A version that was not asked for may have become an older one since.
          AND (
            SELECT coalesce(bool_and(k.id = asked.consent_id AND v.version = coalesce(asked.version, v.version)), false)
            FROM unnest(known.versions, consent_ids, consent_versions) AS asked (version_key, consent_id, version)
            LEFT JOIN consent_version AS v USING (version_key)
            LEFT JOIN consent AS k USING (consent_key)
          )
        THEN 'repeated' ELSE 'conflict' END,
        NULL::integer, r.id, r.occurred_at, r.received_at, r.source, r.consents
      FROM event_record AS r WHERE r.id = event_id;
    RETURN;
  END IF;

  INSERT INTO current_choice AS c (subject_key, consent_key, version_key, occurred_at, sequence, enabled)
  SELECT known.subject_key, v.consent_key, v.version_key, known.occurred_at, known.sequence, choice.enabled
  FROM unnest(keys, choices) AS choice (version_key, enabled)
  JOIN consent_version AS v USING (version_key)
  -- Always in the same order, so that two writers cannot wait for each other.
  ORDER BY v.consent_key
  ON CONFLICT (subject_key, consent_key) DO UPDATE
  SET version_key = excluded.version_key, occurred_at = excluded.occurred_at,
      sequence = excluded.sequence, enabled = excluded.enabled
  WHERE (excluded.occurred_at, NOT excluded.enabled, excluded.sequence) > (c.occurred_at, NOT c.enabled, c.sequence);

  RETURN QUERY
    SELECT 'created', NULL::integer, r.id, r.occurred_at, r.received_at, r.source, r.consents
    FROM event_record AS r WHERE r.id = event_id;
END
$$;
COMMENT ON FUNCTION pmp.record_event IS
  'POST /events in one statement. happened_at NULL: now. consent_versions: as many as consent_ids, NULL for the newest. '
  'Outcome: created; repeated (same id, same content: what is stored is returned); conflict (same id, other content); '
  'unknown_user; erased_user; unknown_consent and unknown_version (position: zero-based place in consent_ids); in_future.';
GRANT EXECUTE ON FUNCTION pmp.record_event TO pmp_app;
COMMIT;
