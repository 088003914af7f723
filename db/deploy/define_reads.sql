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

CREATE FUNCTION pmp.replay(subject_key bigint, until timestamptz DEFAULT 'infinity') RETURNS SETOF pmp.current_choice
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT DISTINCT ON (v.consent_key)
    e.subject_key, v.consent_key, v.version_key, place.counts_at, e.sequence, choice.enabled
  FROM event AS e
  CROSS JOIN LATERAL unnest(e.versions, e.enabled) AS choice (version_key, enabled)
  CROSS JOIN LATERAL (
    SELECT counts_at(e.occurred_at, e.received_at, e.has_fraction, choice.enabled) AS counts_at
  ) AS place
  JOIN consent_version AS v USING (version_key)
  -- The first limit is for the index.
  WHERE e.subject_key = $1 AND least(e.occurred_at, e.received_at) <= $2 AND place.counts_at <= $2
  ORDER BY v.consent_key, place.counts_at DESC, choice.enabled, e.sequence DESC
$$;
COMMENT ON FUNCTION pmp.replay IS 'The fold of a user''s events up to an instant, computed from the events themselves.';

CREATE FUNCTION pmp.describe_choice(consent_id text, enabled boolean, expires_at timestamptz, at timestamptz)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  -- An expired grant counts as not given.
  SELECT CASE
    WHEN expires_at <= at THEN jsonb_build_object('id', consent_id, 'enabled', false, 'reason', 'expired')
    ELSE jsonb_build_object('id', consent_id, 'enabled', enabled)
  END
$$;

CREATE FUNCTION pmp.describe_user(s pmp.subject) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN jsonb_build_object('id', s.id, 'email', s.email, 'consents', (
    SELECT coalesce(jsonb_agg(
      describe_choice(k.id, c.enabled, expiry(c.enabled, c.counts_at, v.expires_after_days), now()) ORDER BY c.consent_key
    ), '[]')
    FROM consent AS k
    JOIN current_choice AS c USING (consent_key)
    JOIN consent_version AS v USING (version_key)
    WHERE c.subject_key = s.subject_key
  ));
END
$$;
COMMENT ON FUNCTION pmp.describe_user IS 'A user as the API returns it, consents in the order of the catalogue.';

CREATE FUNCTION pmp.get_user(user_id uuid, as_of timestamptz DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id;
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"erased": true}';
  ELSIF as_of IS NULL THEN
    RETURN describe_user(person);
  END IF;
  RETURN jsonb_build_object('id', person.id, 'email', person.email, 'consents', (
    SELECT coalesce(jsonb_agg(
      describe_choice(k.id, c.enabled, expiry(c.enabled, c.counts_at, v.expires_after_days), as_of) ORDER BY c.consent_key
    ), '[]')
    FROM replay(person.subject_key, as_of) AS c
    JOIN consent_version AS v USING (version_key)
    JOIN consent AS k ON k.consent_key = c.consent_key
  ));
END
$$;
COMMENT ON FUNCTION pmp.get_user IS
  '{"id", "email", "consents": [{"id", "enabled", "reason"?}]} now, or as of an instant; '
  '{"erased": true}; NULL: unknown user.';

CREATE FUNCTION pmp.list_users(
  after uuid, row_limit integer, address text DEFAULT NULL, consent_id text DEFAULT NULL, choice boolean DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  after_key bigint := coalesce((SELECT s.subject_key FROM subject AS s WHERE s.id = after), 0);
BEGIN
  IF address IS NOT NULL THEN
    RETURN (
      SELECT coalesce(jsonb_agg(describe_user(s)), '[]') FROM subject AS s
      WHERE s.email_key = fold_email(address) AND s.subject_key > after_key
        AND (consent_id IS NULL OR EXISTS (
          SELECT FROM current_choice AS c JOIN consent AS k USING (consent_key)
          JOIN consent_version AS v USING (version_key)
          WHERE c.subject_key = s.subject_key AND k.id = consent_id AND c.enabled = choice
            AND coalesce(expiry(c.enabled, c.counts_at, v.expires_after_days) > now(), true)
        ))
    );
  ELSIF consent_id IS NOT NULL THEN
    RETURN (
      SELECT coalesce(jsonb_agg(describe_user(s) ORDER BY s.subject_key), '[]')
      FROM (
        SELECT c.subject_key FROM current_choice AS c JOIN consent_version AS v USING (version_key)
        WHERE c.consent_key = (SELECT k.consent_key FROM consent AS k WHERE k.id = consent_id)
          AND c.enabled = choice AND c.subject_key > after_key
          AND coalesce(expiry(c.enabled, c.counts_at, v.expires_after_days) > now(), true)
        ORDER BY c.subject_key LIMIT row_limit
      ) AS page JOIN subject AS s USING (subject_key)
    );
  END IF;
  RETURN (
    SELECT coalesce(jsonb_agg(describe_user(s) ORDER BY s.subject_key), '[]')
    FROM (
      SELECT * FROM subject AS s WHERE s.subject_key > after_key AND s.erased_at IS NULL
      ORDER BY s.subject_key LIMIT row_limit
    ) AS s
  );
END
$$;
COMMENT ON FUNCTION pmp.list_users IS
  'A page of users as get_user returns them, in order of creation, after the user "after" (NULL: from the start). '
  'Optional filters: address; consent_id with choice (users with that unexpired choice).';

CREATE VIEW pmp.event_record AS
SELECT
  e.id, s.id AS user_id, e.subject_key, e.sequence, e.occurred_at, e.has_fraction, e.received_at,
  pmp.source_name(e.source_key) AS source,
  (
    SELECT jsonb_agg(jsonb_build_object('id', k.id, 'enabled', choice.enabled, 'version', v.version) ORDER BY choice.place)
    FROM unnest(e.versions, e.enabled) WITH ORDINALITY AS choice (version_key, enabled, place)
    JOIN pmp.consent_version AS v USING (version_key)
    JOIN pmp.consent AS k ON k.consent_key = v.consent_key
  ) AS consents
FROM pmp.event AS e
JOIN pmp.subject AS s USING (subject_key);
COMMENT ON VIEW pmp.event_record IS
  'Events in readable form; consents as JSON [{id, enabled, version}] in the order sent.';

CREATE FUNCTION pmp.describe_event(e pmp.event_record) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT jsonb_build_object(
    'id', e.id, 'user', jsonb_build_object('id', e.user_id), 'consents', e.consents,
    'occurred_at', CASE
      WHEN e.has_fraction THEN pmp.instant(e.occurred_at)
      ELSE to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    END,
    'received_at', pmp.instant(e.received_at), 'source', e.source
  )
$$;
COMMENT ON FUNCTION pmp.describe_event IS 'An event as the API returns it; an instant told without a fraction has none.';

CREATE FUNCTION pmp.get_event(event_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (SELECT describe_event(e) FROM event_record AS e WHERE e.id = event_id);
END
$$;
COMMENT ON FUNCTION pmp.get_event IS
  '{"id", "user": {"id"}, "consents": [{"id", "enabled", "version"}], "occurred_at", "received_at", "source"} or NULL.';

CREATE FUNCTION pmp.list_events(after_sequence bigint, row_limit integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(describe_event(e) || jsonb_build_object('sequence', e.sequence) ORDER BY e.sequence), '[]')
    FROM (
      SELECT * FROM event_record AS e WHERE e.sequence > coalesce(after_sequence, 0) ORDER BY e.sequence LIMIT row_limit
    ) AS e
  );
END
$$;
COMMENT ON FUNCTION pmp.list_events IS
  'A page of all events in order of arrival, each as get_event plus "sequence"; after_sequence NULL: from the start.';

CREATE FUNCTION pmp.list_user_events(
  user_id uuid, after_instant timestamptz, after_sequence bigint, row_limit integer
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id;
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"erased": true}';
  END IF;
  RETURN (
    SELECT coalesce(jsonb_agg(
      describe_event(e) || jsonb_build_object('sequence', e.sequence)
      ORDER BY least(e.occurred_at, e.received_at), e.sequence
    ), '[]')
    FROM (
      SELECT * FROM event_record AS e
      WHERE e.subject_key = person.subject_key
        AND (least(e.occurred_at, e.received_at), e.sequence)
          > (coalesce(after_instant, '-infinity'), coalesce(after_sequence, 0))
      ORDER BY least(e.occurred_at, e.received_at), e.sequence LIMIT row_limit
    ) AS e
  );
END
$$;
COMMENT ON FUNCTION pmp.list_user_events IS
  'A page of a user''s events by (least(occurred_at, received_at), sequence), each as get_event plus "sequence", after '
  '(after_instant, after_sequence), NULL: from the start. Returns NULL for an unknown user, or {"erased": true}.';

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
        SELECT coalesce(jsonb_agg(describe_consent(k.id, v) ORDER BY k.id, v.version), '[]')
        FROM (
          SELECT DISTINCT unnest(e.versions) AS version_key FROM event AS e WHERE e.subject_key = s.subject_key
        ) AS answered
        JOIN consent_version AS v USING (version_key)
        JOIN consent AS k USING (consent_key)
      )
    )
    FROM subject AS s WHERE s.id = user_id
  );
END
$$;
COMMENT ON FUNCTION pmp.export_user IS
  'All data about a user (GDPR Art. 15 and 20) but the events, which list_user_events returns: {"user", "created_at", '
  '"created_by", "exported_at", "wordings": the versions of consents that the user answered}; {"erased": true}; NULL.';

CREATE FUNCTION pmp.check_consents(checks jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'allowed', c.enabled IS TRUE AND NOT expired.yes AND s.erased_at IS NULL,
      'reason', CASE
        WHEN s.subject_key IS NULL THEN 'unknown_user'
        WHEN s.erased_at IS NOT NULL THEN 'erased'
        WHEN k.consent_key IS NULL THEN 'unknown_consent'
        WHEN c.subject_key IS NULL THEN 'not_given'
        WHEN expired.yes THEN 'expired'
        WHEN c.enabled THEN 'given'
        ELSE 'denied'
      END,
      'since', instant(c.counts_at)
    ) ORDER BY asked.place), '[]')
    FROM jsonb_array_elements(checks) WITH ORDINALITY AS asked (item, place)
    LEFT JOIN subject AS by_id ON by_id.id = (asked.item #>> '{user,id}')::uuid
    LEFT JOIN subject AS by_email ON by_email.email_key = fold_email(asked.item #>> '{user,email}')
    LEFT JOIN subject AS s ON s.subject_key = coalesce(by_id.subject_key, by_email.subject_key)
    LEFT JOIN consent AS k ON k.id = asked.item ->> 'consent'
    LEFT JOIN current_choice AS c ON c.subject_key = s.subject_key AND c.consent_key = k.consent_key
    LEFT JOIN consent_version AS v ON v.version_key = c.version_key
    CROSS JOIN LATERAL (
      SELECT coalesce(expiry(c.enabled, c.counts_at, v.expires_after_days) <= now(), false) AS yes
    ) AS expired
  );
END
$$;
COMMENT ON FUNCTION pmp.check_consents IS
  '[{"user": {"id"} or {"email"}, "consent"}] → [{"allowed", "reason", "since"}] in the same order. Only an unexpired '
  'grant is allowed; reason: given, denied, expired, not_given, unknown_consent, erased, unknown_user.';

GRANT EXECUTE ON FUNCTION
  pmp.expiry, pmp.replay, pmp.describe_choice, pmp.describe_user, pmp.get_user, pmp.list_users, pmp.describe_event,
  pmp.get_event, pmp.list_events, pmp.list_user_events, pmp.export_user, pmp.check_consents
TO pmp_app;
GRANT SELECT ON pmp.event_record TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.expiry, pmp.replay TO pmp_readonly;
COMMIT;
