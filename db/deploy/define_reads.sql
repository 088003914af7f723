-- Deploy pmp:define_reads to pg
--
-- The API's reads: one statement and one JSON document per operation. Functions that are called directly are PL/pgSQL
-- rather than SQL, because its plans are cached for the life of the pooled session.
BEGIN;
CREATE FUNCTION pmp.expiry(enabled boolean, counts_at timestamptz, expires_after_days integer) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  -- Hours, because the length of a day depends on the session time zone.
  SELECT CASE WHEN enabled THEN counts_at + expires_after_days * interval '24 hours' END
$$;
COMMENT ON FUNCTION pmp.expiry IS 'When a choice expires; NULL: never. A denial never expires.';

CREATE FUNCTION pmp.lapsed(
  enabled boolean, counts_at timestamptz, expires_after_days integer, superseded_at timestamptz, at timestamptz
) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN pmp.expiry(enabled, counts_at, expires_after_days) <= at THEN 'expired'
    WHEN enabled AND superseded_at <= at THEN 'superseded'
  END
$$;
COMMENT ON FUNCTION pmp.lapsed IS
  'Why a grant counts no longer at an instant: expired; superseded: a later version of the consent requires a new one. '
  'NULL: it counts. A denial always counts.';

CREATE FUNCTION pmp.is_within(
  counts_at timestamptz, received_at timestamptz, as_of timestamptz, known_at timestamptz
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT counts_at <= coalesce(as_of, 'infinity') AND received_at <= coalesce(known_at, 'infinity')
$$;
COMMENT ON FUNCTION pmp.is_within IS
  'Whether a choice belongs to a state: it counted by as_of, and we had received it by known_at. NULL: no limit.';

CREATE FUNCTION pmp.replay(subject_key bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL)
RETURNS SETOF pmp.current_choice
-- With a plan for each call: the planner expects an unknown array to have ten items, and so never keeps a plan.
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  keys bigint[] := subject_keys($1);
BEGIN
  RETURN QUERY
    SELECT DISTINCT ON (v.consent_key)
      $1, v.consent_key, c.version_key, c.counts_at, c.sequence, c.enabled, c.value
    FROM (
      SELECT c.*, counts_at(c.occurred_at, c.received_at, c.has_fraction, c.enabled) AS counts_at
      FROM (
        -- In the target list: a join with unnest() is slower for a user of many events.
        SELECT
          e.occurred_at, e.received_at, e.has_fraction, e.sequence,
          unnest(e.versions) AS version_key, unnest(e.enabled) AS enabled, unnest(chosen_values(e.chosen)) AS value
        FROM event AS e
        -- The second condition is for the index.
        WHERE e.subject_key = ANY (keys) AND least(e.occurred_at, e.received_at) <= coalesce($2, 'infinity')
      ) AS c
    ) AS c
    JOIN consent_version AS v USING (version_key)
    WHERE is_within(c.counts_at, c.received_at, $2, $3)
    ORDER BY v.consent_key, c.counts_at DESC, c.enabled, c.sequence DESC;
END
$$;
COMMENT ON FUNCTION pmp.replay IS
  'The fold of a user''s events as of an instant, as far as they were known at another; computed from the events.';

CREATE FUNCTION pmp.describe_choice(consent_id text, enabled boolean, value jsonb, lapsed text)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
  -- A lapsed grant counts as not given.
  SELECT CASE
    WHEN lapsed IS NOT NULL THEN jsonb_build_object('id', consent_id, 'enabled', false, 'reason', lapsed)
    WHEN value IS NULL THEN jsonb_build_object('id', consent_id, 'enabled', enabled)
    ELSE jsonb_build_object('id', consent_id, 'enabled', enabled, 'value', value)
  END
$$;
COMMENT ON FUNCTION pmp.describe_choice IS
  'A choice as a user shows it: {"id", "enabled", "value"?, "reason"?: see lapsed()}.';

CREATE FUNCTION pmp.describe_user(
  s pmp.subject, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  at timestamptz := coalesce(as_of, known_at);
  document jsonb;
BEGIN
  IF at IS NULL THEN
    document := jsonb_build_object('id', s.id, 'email', s.email, 'consents', (
      SELECT coalesce(jsonb_agg(
        describe_choice(
          k.id, c.enabled, c.value, lapsed(c.enabled, c.counts_at, v.expires_after_days, v.superseded_at, now())
        )
        ORDER BY c.consent_key
      ), '[]')
      FROM consent AS k
      JOIN current_choice AS c USING (consent_key)
      JOIN consent_version AS v USING (version_key)
      WHERE c.subject_key = s.subject_key
    ));
  ELSE
    document := jsonb_build_object('id', s.id, 'email', s.email, 'consents', (
      SELECT coalesce(jsonb_agg(
        describe_choice(
          k.id, c.enabled, c.value, lapsed(c.enabled, c.counts_at, v.expires_after_days, v.superseded_at, at)
        )
        ORDER BY c.consent_key
      ), '[]')
      FROM replay(s.subject_key, as_of, known_at) AS c
      JOIN consent_version AS v USING (version_key)
      JOIN consent AS k ON k.consent_key = c.consent_key
    ));
  END IF;
  IF s.has_more THEN
    document := document || describe_identifiers(s.subject_key);
  END IF;
  RETURN document;
END
$$;
COMMENT ON FUNCTION pmp.describe_user IS
  'A user as the API returns it, with phone and external_ids if there are any, consents in the order of the catalogue. '
  'as_of: the state at an instant; known_at: only from events received by then. Without as_of, grants lapse by known_at; '
  'without both, it is the present state.';

CREATE FUNCTION pmp.has_choice(document jsonb, consent_id text, choice boolean) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  -- A lapsed grant, which has a reason, counts as not given: neither granted nor denied.
  SELECT jsonb_path_exists(
    document, '$.consents[*] ? (@.id == $id && @.enabled == $enabled && !exists(@.reason))',
    jsonb_build_object('id', consent_id, 'enabled', choice)
  )
$$;
COMMENT ON FUNCTION pmp.has_choice IS 'Whether the user that describe_user returned has made this choice, and it counts.';

CREATE FUNCTION pmp.get_user(
  user_id uuid, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id;
  IF person.merged_into IS NOT NULL THEN
    person := find_subject(user_id);
  END IF;
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"erased": true}';
  END IF;
  IF as_of IS NOT NULL OR known_at IS NOT NULL THEN
    PERFORM refuse_before_edge(as_of, known_at);
  END IF;
  RETURN describe_user(person, as_of, known_at);
END
$$;
COMMENT ON FUNCTION pmp.get_user IS
  '{"id", "email", "consents": [{"id", "enabled", "reason"?}]}, see describe_user; {"erased": true}; NULL: unknown user.';

CREATE FUNCTION pmp.find_user(
  address text, consent_id text DEFAULT NULL, choice boolean DEFAULT NULL, as_of timestamptz DEFAULT NULL,
  known_at timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  IF as_of IS NOT NULL OR known_at IS NOT NULL THEN
    PERFORM refuse_before_edge(as_of, known_at);
  END IF;
  RETURN (
    SELECT coalesce(jsonb_agg(u.document), '[]')
    FROM (
      SELECT describe_user(s, as_of, known_at) AS document FROM subject AS s
      WHERE s.subject_key = subject_named('email', address)
    ) AS u
    WHERE consent_id IS NULL OR has_choice(u.document, consent_id, choice)
  );
END
$$;
COMMENT ON FUNCTION pmp.find_user IS
  'The user with this address as an array of one or none; with consent_id and choice: only if the user made that choice.';

CREATE FUNCTION pmp.list_users(
  after_number bigint, after_key bigint, row_limit integer, as_of timestamptz DEFAULT NULL,
  known_at timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  horizon bigint := feed_horizon();
  items jsonb[] := '{}';
  last_number bigint := coalesce(after_number, 0);
  last_key bigint := coalesce(after_key, 0);
  person subject;
BEGIN
  IF as_of IS NOT NULL OR known_at IS NOT NULL THEN
    PERFORM refuse_before_edge(as_of, known_at);
  END IF;
  -- No page reads more than 1,000 users, however many were erased or merged.
  FOR person IN
    SELECT * FROM subject AS s
    WHERE (s.transaction_number, s.subject_key) > (coalesce(after_number, 0), coalesce(after_key, 0))
      AND s.transaction_number < horizon
    ORDER BY s.transaction_number, s.subject_key LIMIT 1000
  LOOP
    last_number := person.transaction_number;
    last_key := person.subject_key;
    IF person.erased_at IS NULL AND person.merged_into IS NULL THEN
      items := items || (
        describe_user(person, as_of, known_at) || jsonb_build_object('place', jsonb_build_array(last_number, last_key))
      );
    END IF;
    EXIT WHEN cardinality(items) = row_limit;
  END LOOP;
  RETURN jsonb_build_object(
    'items', to_jsonb(items), 'last', jsonb_build_array(last_number, last_key), 'more', (
      -- EXISTS would scan the table where the planner expects most users after this place.
      SELECT s.subject_key FROM subject AS s
      WHERE (s.transaction_number, s.subject_key) > (last_number, last_key) AND s.transaction_number < horizon
      ORDER BY s.transaction_number, s.subject_key LIMIT 1
    ) IS NOT NULL
  );
END
$$;
COMMENT ON FUNCTION pmp.list_users IS
  'A page of users in order of their creation, after (after_number, after_key), NULL: from the start. {"items": [as '
  'get_user plus "place"], "last": [number, key] after which the next page begins, "more": whether it would have users now}. A page '
  'may be short or empty.';

CREATE FUNCTION pmp.list_users_by_choice(
  after_key bigint, row_limit integer, consent_id text, choice boolean, as_of timestamptz DEFAULT NULL,
  known_at timestamptz DEFAULT NULL, expires_before timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  wanted integer := (SELECT k.consent_key FROM consent AS k WHERE k.id = consent_id);
  is_present boolean := as_of IS NULL AND known_at IS NULL;
  items jsonb[] := '{}';
  last_key bigint := coalesce(after_key, 0);
  document jsonb;
  candidate record;
BEGIN
  IF as_of IS NOT NULL OR known_at IS NOT NULL THEN
    PERFORM refuse_before_edge(as_of, known_at);
  END IF;
  -- Whoever ever made the choice has a current choice for that consent. No page reads more than 1,000 of them, however
  -- few match.
  FOR candidate IN
    SELECT
      c.subject_key,
      -- A subquery, because a join would sort the page before its first row.
      NOT is_present OR c.enabled = choice AND (
        SELECT lapsed(c.enabled, c.counts_at, v.expires_after_days, v.superseded_at, now()) IS NULL AND (
          expires_before IS NULL OR expiry(c.enabled, c.counts_at, v.expires_after_days) < expires_before
        )
        FROM consent_version AS v WHERE v.version_key = c.version_key
      ) AS may_match
    FROM current_choice AS c WHERE c.consent_key = wanted AND c.subject_key > coalesce(after_key, 0)
    ORDER BY c.subject_key LIMIT 1000
  LOOP
    last_key := candidate.subject_key;
    CONTINUE WHEN candidate.may_match IS NOT TRUE;
    SELECT describe_user(s, as_of, known_at) INTO document FROM subject AS s WHERE s.subject_key = last_key;
    CONTINUE WHEN NOT has_choice(document, consent_id, choice);
    items := items || (document || jsonb_build_object('place', jsonb_build_array(last_key)));
    EXIT WHEN cardinality(items) = row_limit;
  END LOOP;
  RETURN jsonb_build_object(
    'items', to_jsonb(items), 'last', jsonb_build_array(last_key), 'more', (
      -- EXISTS would scan the table where the planner takes the choice for a common one.
      SELECT c.subject_key FROM current_choice AS c WHERE c.consent_key = wanted AND c.subject_key > last_key
      ORDER BY c.subject_key LIMIT 1
    ) IS NOT NULL
  );
END
$$;
COMMENT ON FUNCTION pmp.list_users_by_choice IS
  'A page of the users with a choice that counts, after after_key (NULL: from the start): {"items": [as get_user plus '
  '"place"], "last": [key] after which the next page begins, "more": whether there may be further users}. A page may be '
  'short or empty. expires_before: only grants that expire before it; of the present state only.';

CREATE FUNCTION pmp.describe_answer(consent_id text, enabled boolean, version integer, value jsonb)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN value IS NULL THEN jsonb_build_object('id', consent_id, 'enabled', enabled, 'version', version)
    ELSE jsonb_build_object('id', consent_id, 'enabled', enabled, 'version', version, 'value', value)
  END
$$;
COMMENT ON FUNCTION pmp.describe_answer IS
  'A choice as an event shows it, and as an import reads it: {"id", "enabled", "version", "value"?}.';

CREATE VIEW pmp.event_record AS
SELECT
  e.id,
  CASE
    WHEN s.merged_into IS NULL THEN s.id ELSE (SELECT o.id FROM pmp.subject AS o WHERE o.subject_key = s.merged_into)
  END AS user_id,
  coalesce(s.merged_into, s.subject_key) AS owner_key, e.subject_key, e.transaction_number, e.sequence, e.occurred_at,
  e.has_fraction, e.has_context, e.received_at,
  -- The earliest instant at which one of its choices counts.
  pmp.counts_at(e.occurred_at, e.received_at, e.has_fraction, true = ANY (e.enabled)) AS counts_at,
  pmp.source_name(e.source_key) AS source,
  (
    SELECT jsonb_agg(pmp.describe_answer(k.id, choice.enabled, v.version, choice.value) ORDER BY choice.place)
    FROM unnest(e.versions, e.enabled, pmp.chosen_values(e.chosen)) WITH ORDINALITY
      AS choice (version_key, enabled, value, place)
    JOIN pmp.consent_version AS v USING (version_key)
    JOIN pmp.consent AS k ON k.consent_key = v.consent_key
  ) AS consents
FROM pmp.event AS e
JOIN pmp.subject AS s USING (subject_key);
COMMENT ON VIEW pmp.event_record IS
  'Events in readable form; consents as JSON [{id, enabled, version, value?}] in the order sent.';

CREATE FUNCTION pmp.describe_context(subject_key bigint, sequence bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN coalesce((
    SELECT jsonb_build_object('context', c.context) FROM event_context AS c
    WHERE c.subject_key = $1 AND c.sequence = $2
  ), '{}');
END
$$;
COMMENT ON FUNCTION pmp.describe_context IS
  'Context of an event as a member of its document: {"context": {…}}; {} if its user was erased.';

CREATE FUNCTION pmp.describe_event(e pmp.event_record) RETURNS jsonb
-- As SQL it would not be inlined: some members of the record are queries, and it uses the record more than once.
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
  RETURN jsonb_build_object(
    'id', e.id, 'user', jsonb_build_object('id', e.user_id), 'consents', e.consents,
    'occurred_at', CASE
      WHEN e.has_fraction THEN pmp.instant(e.occurred_at)
      ELSE to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    END,
    'received_at', pmp.instant(e.received_at), 'source', e.source
  ) || CASE WHEN e.has_context THEN pmp.describe_context(e.subject_key, e.sequence) ELSE '{}' END;
END
$$;
COMMENT ON FUNCTION pmp.describe_event IS 'An event as the API returns it; an instant told without a fraction has none.';

CREATE FUNCTION pmp.get_event(event_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN coalesce(
    (SELECT describe_event(e) FROM event_record AS e WHERE e.id = event_id),
    (SELECT '{"removed": true}'::jsonb FROM removed_event AS r WHERE r.id = event_id)
  );
END
$$;
COMMENT ON FUNCTION pmp.get_event IS
  '{"id", "user": {"id"}, "consents": [{"id", "enabled", "version"}], "occurred_at", "received_at", "source", "context"?}; '
  '{"removed": true}: it has left, see removed_event; NULL: unknown id.';

CREATE FUNCTION pmp.list_events(after_number bigint, after_sequence bigint, row_limit integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  horizon bigint := feed_horizon();
  page jsonb;
  place jsonb := jsonb_build_array(coalesce(after_number, 0), coalesce(after_sequence, 0));
  held_since timestamptz;
BEGIN
  SELECT jsonb_agg(
    describe_event(e) || jsonb_build_object('place', jsonb_build_array(e.transaction_number, e.sequence))
    ORDER BY e.transaction_number, e.sequence
  ) INTO page
  FROM (
    SELECT * FROM event_record AS e
    WHERE (e.transaction_number, e.sequence) > (coalesce(after_number, 0), coalesce(after_sequence, 0))
      AND e.transaction_number < horizon
    ORDER BY e.transaction_number, e.sequence LIMIT row_limit + 1
  ) AS e;
  IF jsonb_array_length(page) > row_limit THEN
    page := page - row_limit;
    RETURN jsonb_build_object('items', page, 'last', page -> -1 -> 'place', 'more', true);
  END IF;
  -- The oldest event that is committed, but held back for an older transaction.
  SELECT e.received_at INTO held_since FROM event AS e WHERE e.transaction_number >= horizon
  ORDER BY e.transaction_number, e.sequence LIMIT 1;
  RETURN jsonb_build_object(
    'items', coalesce(page, '[]'), 'last', coalesce(page -> -1 -> 'place', place), 'more', false,
    'lag_seconds', coalesce(greatest(extract(epoch FROM clock_timestamp() - held_since), 0), 0)
  );
END
$$;
COMMENT ON FUNCTION pmp.list_events IS
  'A page of all events, after (after_number, after_sequence), NULL: from the start. {"items": [as get_event plus '
  '"place"], "last": [number, sequence] after which the next page begins, "more": whether it would have events now, '
  '"lag_seconds": age of the oldest event that is held back; only on the last page}.';

CREATE FUNCTION pmp.list_user_events(
  user_id uuid, after_instant timestamptz, after_sequence bigint, row_limit integer, as_of timestamptz DEFAULT NULL,
  known_at timestamptz DEFAULT NULL
) RETURNS jsonb
-- As in replay: the planner would never keep a plan for an array that it does not know.
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  person subject := find_subject(user_id);
BEGIN
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"erased": true}';
  END IF;
  IF as_of IS NOT NULL OR known_at IS NOT NULL THEN
    PERFORM refuse_before_edge(as_of, known_at);
  END IF;
  RETURN (
    SELECT coalesce(jsonb_agg(
      describe_event(e) || jsonb_build_object('sequence', e.sequence)
      ORDER BY least(e.occurred_at, e.received_at), e.sequence
    ), '[]')
    FROM (
      SELECT e.* FROM unnest(subject_keys(person.subject_key)) AS owned (subject_key)
      CROSS JOIN LATERAL (
        -- The limit for each of them: the index gives the order of one user's events only.
        SELECT * FROM event_record AS e
        WHERE e.subject_key = owned.subject_key
          AND (least(e.occurred_at, e.received_at), e.sequence)
            > (coalesce(after_instant, '-infinity'), coalesce(after_sequence, 0))
          AND is_within(e.counts_at, e.received_at, as_of, known_at)
        ORDER BY least(e.occurred_at, e.received_at), e.sequence LIMIT row_limit
      ) AS e
      ORDER BY least(e.occurred_at, e.received_at), e.sequence LIMIT row_limit
    ) AS e
  );
END
$$;
COMMENT ON FUNCTION pmp.list_user_events IS
  'A page of a user''s events by (least(occurred_at, received_at), sequence), each as get_event plus "sequence", after '
  '(after_instant, after_sequence), NULL: from the start. as_of, known_at: only events from which the user''s state at '
  'these limits follows (see describe_user). Returns NULL for an unknown user, or {"erased": true}.';

CREATE FUNCTION pmp.export_user(user_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person jsonb := get_user(user_id);
BEGIN
  IF person IS NULL OR person ? 'erased' THEN
    RETURN person;
  END IF;
  RETURN (
    SELECT jsonb_build_object(
      'user', person, 'created_at', instant(s.created_at), 'created_by', source_name(s.created_by),
      'exported_at', instant(now()), 'wordings', (
        SELECT coalesce(jsonb_agg(describe_consent(k, v) ORDER BY k.id, v.version), '[]')
        FROM (
          SELECT DISTINCT unnest(e.versions) AS version_key FROM event AS e
          WHERE e.subject_key = ANY (subject_keys(s.subject_key))
        ) AS answered
        JOIN consent_version AS v USING (version_key)
        JOIN consent AS k USING (consent_key)
      )
    )
    FROM find_subject(user_id) AS s
  );
END
$$;
COMMENT ON FUNCTION pmp.export_user IS
  'All data about a user (GDPR Art. 15 and 20) but the events, which list_user_events returns: {"user", "created_at", '
  '"created_by", "exported_at", "wordings": the versions of consents that the user answered}; {"erased": true}; NULL.';

CREATE FUNCTION pmp.describe_choices(
  user_id uuid, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject := find_subject(user_id);
  at timestamptz := coalesce(as_of, known_at);
BEGIN
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"erased": true}';
  END IF;
  IF as_of IS NOT NULL OR known_at IS NOT NULL THEN
    PERFORM refuse_before_edge(as_of, known_at);
  END IF;
  RETURN (
    SELECT coalesce(jsonb_agg(
      describe_choice(
        k.id, c.enabled, c.value, lapsed(c.enabled, c.counts_at, v.expires_after_days, v.superseded_at, coalesce(at, now()))
      ) || jsonb_build_object(
        'version', v.version, 'since', instant(c.counts_at),
        'expires_at', instant(least(expiry(c.enabled, c.counts_at, v.expires_after_days), CASE
          WHEN c.enabled AND v.superseded_at <= coalesce(at, now()) THEN v.superseded_at
        END)),
        'event', e.id, 'source', source_name(e.source_key)
      )
      ORDER BY c.consent_key
    ), '[]')
    FROM (
      SELECT c.* FROM current_choice AS c WHERE at IS NULL AND c.subject_key = person.subject_key
        AND c.consent_key = ANY (ARRAY(SELECT k.consent_key FROM consent AS k))
      UNION ALL
      SELECT r.* FROM replay(person.subject_key, as_of, known_at) AS r WHERE at IS NOT NULL
    ) AS c
    -- The third condition is for the index: a denial counts at the end of its second.
    JOIN event AS e ON e.subject_key = ANY (subject_keys(c.subject_key)) AND e.sequence = c.sequence
      AND least(e.occurred_at, e.received_at) BETWEEN c.counts_at - interval '1 second' AND c.counts_at
    JOIN consent_version AS v ON v.version_key = c.version_key
    JOIN consent AS k ON k.consent_key = c.consent_key
  );
END
$$;
COMMENT ON FUNCTION pmp.describe_choices IS
  'The choices of describe_user with their grounds: [{"id", "enabled", "value"?, "reason"?, "version", "since": when it counts, '
  '"expires_at": when the grant lapses or has lapsed, NULL: never, "event": its id, "source"}]; {"erased": true}; NULL.';

CREATE FUNCTION pmp.check_consents(
  checks jsonb, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL
) RETURNS jsonb
-- To plan for each call's own checks takes twice as long as to answer one.
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  at timestamptz := coalesce(as_of, known_at);
BEGIN
  IF at IS NOT NULL THEN
    PERFORM refuse_before_edge(as_of, known_at, ARRAY(
      SELECT DISTINCT asked.item ->> 'consent' FROM jsonb_array_elements(checks) AS asked (item)
    ));
  END IF;
  RETURN (
    WITH asked AS MATERIALIZED (
      SELECT asked.place, asked.item ->> 'country' AS country, s.subject_key, s.id, s.erased_at, k.consent_key, k.retired_at
      FROM jsonb_array_elements(checks) WITH ORDINALITY AS asked (item, place)
      LEFT JOIN subject AS by_id ON by_id.id = (asked.item #>> '{user,id}')::uuid
      LEFT JOIN subject AS by_email ON by_email.email_key = fold_email(asked.item #>> '{user,email}')
      LEFT JOIN identifier AS i ON i.kind = asked.item #>> '{user,kind}' AND i.value = asked.item #>> '{user,value}'
      LEFT JOIN subject AS by_other ON by_other.subject_key = i.subject_key
      LEFT JOIN subject AS s ON s.subject_key = coalesce(
        by_id.merged_into, by_id.subject_key, by_email.merged_into, by_email.subject_key, by_other.merged_into,
        by_other.subject_key
      )
      LEFT JOIN consent AS k ON k.id = asked.item ->> 'consent'
    ), wording AS MATERIALIZED (
      -- Of each consent once: the version in force, or the first one, as in create_event.
      SELECT DISTINCT ON (w.consent_key) w.consent_key, w.model, w.models_by_country
      FROM consent_version AS w WHERE w.consent_key = ANY (ARRAY(SELECT a.consent_key FROM asked AS a))
      ORDER BY w.consent_key, w.created_at <= coalesce(at, 'infinity') DESC,
        CASE WHEN w.created_at <= coalesce(at, 'infinity') THEN -w.version ELSE w.version END
    ), replayed AS MATERIALIZED (
      -- Each user's events are read once, however many of the checks ask about the user.
      SELECT r.* FROM (
        SELECT DISTINCT a.subject_key FROM asked AS a WHERE at IS NOT NULL AND a.erased_at IS NULL
      ) AS a
      CROSS JOIN LATERAL replay(a.subject_key, as_of, known_at) AS r
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      -- What was not given is allowed where silence means yes.
      'allowed', allowed.yes,
      'reason', CASE
        WHEN NOT allowed.yes AND at IS NULL AND judged.reason IN ('not_given', 'denied', 'expired', 'superseded')
          -- Hardly anybody waits: a look at the index saves the call.
          AND EXISTS (SELECT FROM confirmation AS f WHERE f.subject_key = a.subject_key)
          AND is_pending(a.subject_key, a.consent_key) THEN 'pending'
        ELSE judged.reason
      END, 'model', wording.model, 'since', instant(c.counts_at), 'user', a.id
    ) ORDER BY a.place), '[]')
    FROM asked AS a
    LEFT JOIN LATERAL (
      SELECT c.* FROM current_choice AS c
      WHERE at IS NULL AND c.subject_key = a.subject_key AND c.consent_key = a.consent_key
      UNION ALL
      SELECT r.* FROM replayed AS r
      WHERE at IS NOT NULL AND r.subject_key = a.subject_key AND r.consent_key = a.consent_key
    ) AS c ON true
    LEFT JOIN consent_version AS v ON v.version_key = c.version_key
    LEFT JOIN wording AS w ON w.consent_key = a.consent_key
    CROSS JOIN LATERAL (
      SELECT CASE
        WHEN a.subject_key IS NULL THEN 'unknown_user'
        WHEN a.erased_at IS NOT NULL THEN 'erased'
        WHEN a.consent_key IS NULL THEN 'unknown_consent'
        WHEN a.retired_at <= coalesce(at, now()) THEN 'retired'
        WHEN c.subject_key IS NULL THEN 'not_given'
        WHEN NOT c.enabled THEN 'denied'
        ELSE coalesce(
          lapsed(c.enabled, c.counts_at, v.expires_after_days, v.superseded_at, coalesce(at, now())), 'given'
        )
      END AS reason
    ) AS judged
    CROSS JOIN LATERAL (
      SELECT coalesce(w.models_by_country ->> a.country, w.models_by_country ->> left(a.country, 2), w.model) AS model
    ) AS wording
    CROSS JOIN LATERAL (
      SELECT judged.reason = 'given'
        OR judged.reason IN ('not_given', 'expired', 'superseded') AND wording.model <> 'opt_in' AS yes
    ) AS allowed
  );
END
$$;
COMMENT ON FUNCTION pmp.check_consents IS
  '[{"user": {"id"}, {"email"} or {"kind", "value"} (see identifier), "consent", "country"?}] → [{"allowed", "reason", '
  '"model", "since", "user"}] in the same order, of the state that describe_user shows. user: the id of whom it is about, '
  'or null; the API does not answer it. reason: given, denied, expired, '
  'superseded, not_given, pending (not allowed, and a grant waits for its confirmation: see is_pending), retired, '
  'unknown_consent, erased, unknown_user. Allowed is a grant that counts; where the model (consent_version.model, of the '
  'country if it has its own) is not opt_in, also what was not given, has expired or is superseded.';

GRANT EXECUTE ON FUNCTION
  pmp.is_within, pmp.expiry, pmp.lapsed, pmp.replay, pmp.describe_choice, pmp.describe_answer, pmp.describe_user,
  pmp.has_choice, pmp.get_user, pmp.find_user, pmp.list_users, pmp.list_users_by_choice, pmp.describe_context,
  pmp.describe_event, pmp.get_event, pmp.list_events, pmp.list_user_events, pmp.export_user, pmp.describe_choices,
  pmp.check_consents
TO pmp_app;
GRANT SELECT ON pmp.event_record TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.is_within, pmp.expiry, pmp.lapsed, pmp.replay, pmp.describe_answer TO pmp_readonly;
COMMIT;
