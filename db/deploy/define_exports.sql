-- Deploy pmp:define_exports to pg
BEGIN;
CREATE FUNCTION pmp.export_page(
  after_key bigint, row_limit integer, consent_id text, choice boolean, as_of timestamptz, known_at timestamptz
) RETURNS TABLE (last_key bigint, users bigint, lines text)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  -- The limit applies before the filter, so that a page never reads more than row_limit users.
  RETURN QUERY
    WITH page AS (
      SELECT * FROM subject AS s WHERE s.subject_key > after_key ORDER BY s.subject_key LIMIT row_limit
    ), described AS MATERIALIZED (
      -- What describe_user() returns; calling it for each user takes more than twice as long.
      SELECT p.subject_key, jsonb_build_object('id', p.id, 'email', p.email, 'consents', (
        SELECT coalesce(jsonb_agg(
          describe_choice(
            k.id, c.enabled, c.value, lapsed(c.enabled, c.counts_at, v.expires_after_days, v.superseded_at, as_of)
          )
          ORDER BY c.consent_key
        ), '[]')
        FROM replay(p.subject_key, as_of, known_at) AS c
        JOIN consent_version AS v USING (version_key)
        JOIN consent AS k ON k.consent_key = c.consent_key
      )) || CASE WHEN p.has_more THEN describe_identifiers(p.subject_key) ELSE '{}' END AS document
      FROM page AS p WHERE p.erased_at IS NULL AND p.merged_into IS NULL
    )
    SELECT
      (SELECT max(p.subject_key) FROM page AS p), count(d.document),
      coalesce(string_agg(d.document::text || E'\n', '' ORDER BY d.subject_key), '')
    FROM described AS d
    WHERE consent_id IS NULL OR has_choice(d.document, consent_id, choice);
END
$$;
COMMENT ON FUNCTION pmp.export_page IS
  'The next page of an export as NDJSON: users after after_key, each as describe_user(as_of, known_at); last_key NULL: '
  'no more users.';

CREATE FUNCTION pmp.export_line(
  event_id uuid, person pmp.subject, consents jsonb, occurred_at timestamptz, has_fraction boolean, received_at timestamptz,
  source text, context jsonb
) RETURNS text
LANGUAGE sql STABLE AS $$
  -- Of two instants, the one from which the choice counts: a later one would count later in an import.
  SELECT (jsonb_strip_nulls(jsonb_build_object('id', event_id)) || jsonb_build_object(
    'user', jsonb_build_object('email', person.email), 'consents', consents,
    'occurred_at', CASE
      WHEN occurred_at > received_at THEN pmp.instant(received_at)
      WHEN has_fraction THEN pmp.instant(occurred_at)
      ELSE to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    END,
    'user_id', person.id, 'received_at', pmp.instant(received_at), 'source', source
  ) || context)::text || E'\n'
$$;
COMMENT ON FUNCTION pmp.export_line IS
  'A line that an import reads, with what it passes over: user_id, received_at and source. context: as describe_context returns it.';

CREATE FUNCTION pmp.export_choices_page(after_key bigint, row_limit integer, as_of timestamptz, known_at timestamptz)
RETURNS TABLE (last_key bigint, users bigint, lines bigint, content text)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN QUERY
    WITH page AS (
      SELECT * FROM subject AS s WHERE s.subject_key > after_key ORDER BY s.subject_key LIMIT row_limit
    ), described AS MATERIALIZED (
      SELECT p.subject_key, c.consent_key, export_line(
        NULL, p, jsonb_build_array(describe_answer(k.id, c.enabled, v.version, c.value)),
        e.occurred_at, e.has_fraction, e.received_at, source_name(e.source_key), '{}'
      ) AS line
      FROM page AS p
      CROSS JOIN LATERAL replay(p.subject_key, as_of, known_at) AS c
      -- The third condition is for the index: a denial counts at the end of its second.
      JOIN event AS e ON e.subject_key = ANY (
          CASE WHEN p.has_more THEN subject_keys(p.subject_key) ELSE ARRAY[p.subject_key] END
        ) AND e.sequence = c.sequence
        AND least(e.occurred_at, e.received_at) BETWEEN c.counts_at - interval '1 second' AND c.counts_at
      JOIN consent_version AS v USING (version_key)
      JOIN consent AS k ON k.consent_key = c.consent_key
      WHERE p.erased_at IS NULL
    )
    SELECT
      (SELECT max(p.subject_key) FROM page AS p), count(DISTINCT d.subject_key), count(*),
      coalesce(string_agg(d.line, '' ORDER BY d.subject_key, d.consent_key), '')
    FROM described AS d;
END
$$;
COMMENT ON FUNCTION pmp.export_choices_page IS
  'The next page of an export of choices as NDJSON, one line for each choice of the users after after_key, as of an '
  'instant and as far as known at another; last_key NULL: no more users.';

CREATE FUNCTION pmp.export_events_page(
  after_number bigint, after_sequence bigint, horizon bigint, row_limit integer, as_of timestamptz, known_at timestamptz
) RETURNS TABLE (last_number bigint, last_sequence bigint, lines bigint, content text)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  -- The limit applies before the filters, so that a page never reads more than row_limit events.
  RETURN QUERY
    WITH page AS (
      SELECT * FROM event_record AS e
      WHERE (e.transaction_number, e.sequence) > (after_number, after_sequence) AND e.transaction_number < horizon
      ORDER BY e.transaction_number, e.sequence LIMIT row_limit
    ), described AS MATERIALIZED (
      SELECT p.transaction_number, p.sequence, export_line(
        p.id, s, p.consents, p.occurred_at, p.has_fraction, p.received_at, p.source,
        CASE WHEN p.has_context THEN describe_context(p.subject_key, p.sequence) ELSE '{}' END
      ) AS line
      FROM page AS p JOIN subject AS s ON s.subject_key = p.owner_key
      WHERE s.erased_at IS NULL AND is_within(p.counts_at, p.received_at, as_of, known_at)
    ), last AS (
      SELECT p.transaction_number, p.sequence FROM page AS p
      ORDER BY p.transaction_number DESC, p.sequence DESC LIMIT 1
    )
    SELECT
      (SELECT l.transaction_number FROM last AS l), (SELECT l.sequence FROM last AS l),
      count(*), coalesce(string_agg(d.line, '' ORDER BY d.transaction_number, d.sequence), '')
    FROM described AS d;
END
$$;
COMMENT ON FUNCTION pmp.export_events_page IS
  'The next page of an export of events as NDJSON, in the order of the feed: events after (after_number, '
  'after_sequence) with a transaction number below horizon; last_number NULL: no more events.';
GRANT EXECUTE ON FUNCTION pmp.export_line, pmp.export_page, pmp.export_choices_page, pmp.export_events_page TO pmp_app;
COMMIT;
