-- Deploy pmp:define_reads to pg
BEGIN;
CREATE FUNCTION pmp.instant(moment timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
COMMENT ON FUNCTION pmp.instant IS 'RFC 3339 in UTC with microseconds, whatever the session''s time zone is.';

CREATE FUNCTION pmp.expiry(occurred_at timestamptz, expires_after_days integer) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  -- Hours, because the length of a day depends on the session's time zone.
  SELECT occurred_at + expires_after_days * interval '24 hours'
$$;

CREATE FUNCTION pmp.replay(subject_key bigint, until timestamptz DEFAULT 'infinity') RETURNS SETOF pmp.current_choice
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT DISTINCT ON (v.consent_key)
    e.subject_key, v.consent_key, v.version_key, e.occurred_at, e.sequence, choice.enabled
  FROM event AS e
  CROSS JOIN LATERAL unnest(e.versions, e.enabled) AS choice (version_key, enabled)
  JOIN consent_version AS v USING (version_key)
  WHERE e.subject_key = $1 AND e.occurred_at <= $2
  ORDER BY v.consent_key, e.occurred_at DESC, choice.enabled, e.sequence DESC
$$;
COMMENT ON FUNCTION pmp.replay IS 'The fold of one person''s events up to an instant, from the events themselves.';

CREATE FUNCTION pmp.describe_choices(choices pmp.current_choice[], at timestamptz) RETURNS json
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT coalesce(json_agg(json_build_object(
    'id', k.id,
    'enabled', c.enabled,
    'since', instant(c.occurred_at),
    'version', v.version,
    'expires_at', instant(expiry(c.occurred_at, v.expires_after_days)),
    'expired', coalesce(expiry(c.occurred_at, v.expires_after_days) <= $2, false)
  ) ORDER BY c.consent_key), '[]')
  FROM unnest($1) AS c
  JOIN consent_version AS v USING (version_key)
  JOIN consent AS k ON k.consent_key = c.consent_key
$$;
COMMENT ON FUNCTION pmp.describe_choices IS
  'Choices as JSON [{id, enabled, since, version, expires_at, expired}], consents in the order of the catalogue.';

CREATE VIEW pmp.user_record AS
SELECT
  s.subject_key, s.id, s.email, s.email_key, s.created_at, s.erased_at,
  (
    SELECT coalesce(json_agg(json_build_object(
      'id', k.id,
      'enabled', c.enabled,
      'since', pmp.instant(c.occurred_at),
      'version', v.version,
      'expires_at', pmp.instant(pmp.expiry(c.occurred_at, v.expires_after_days)),
      'expired', coalesce(pmp.expiry(c.occurred_at, v.expires_after_days) <= now(), false)
    ) ORDER BY c.consent_key), '[]')
    FROM pmp.current_choice AS c
    JOIN pmp.consent_version AS v USING (version_key)
    JOIN pmp.consent AS k ON k.consent_key = c.consent_key
    WHERE c.subject_key = s.subject_key
  ) AS consents
FROM pmp.subject AS s;
COMMENT ON VIEW pmp.user_record IS
  'A person with their current choices as JSON [{id, enabled, since, version, expires_at, expired}] in the order of the '
  'catalogue. Filter by id, email_key = pmp.fold_email(…) or subject_key; erased people are in it, with erased_at.';

CREATE FUNCTION pmp.user_as_of(user_id uuid, at timestamptz)
RETURNS TABLE (id uuid, email text, created_at timestamptz, erased_at timestamptz, consents json)
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT s.id, s.email, s.created_at, s.erased_at,
    describe_choices(ARRAY(SELECT r FROM replay(s.subject_key, $2) AS r), $2)
  FROM subject AS s WHERE s.id = $1
$$;
COMMENT ON FUNCTION pmp.user_as_of IS 'GET /users/{id}?as_of=: user_record as the events until then give it.';

CREATE VIEW pmp.event_record AS
SELECT
  e.id, s.id AS user_id, e.subject_key, e.sequence, e.occurred_at, e.received_at, pmp.source_name(e.source_key) AS source,
  (
    SELECT json_agg(json_build_object('id', k.id, 'enabled', choice.enabled, 'version', v.version) ORDER BY choice.place)
    FROM unnest(e.versions, e.enabled) WITH ORDINALITY AS choice (version_key, enabled, place)
    JOIN pmp.consent_version AS v USING (version_key)
    JOIN pmp.consent AS k ON k.consent_key = v.consent_key
  ) AS consents
FROM pmp.event AS e
JOIN pmp.subject AS s USING (subject_key);
COMMENT ON VIEW pmp.event_record IS
  'An event as the API shows it; consents as JSON [{id, enabled, version}] in the order they were sent. '
  'Filter by id, or by subject_key and page by (occurred_at, sequence).';

CREATE FUNCTION pmp.check_choices(checks jsonb)
RETURNS TABLE ("position" bigint, allowed boolean, reason text, since timestamptz)
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT
    asked.place,
    coalesce(c.enabled AND NOT expired.yes AND s.erased_at IS NULL, false),
    CASE
      WHEN s.subject_key IS NULL THEN 'unknown_user'
      WHEN s.erased_at IS NOT NULL THEN 'erased'
      WHEN k.consent_key IS NULL THEN 'unknown_consent'
      WHEN c.subject_key IS NULL THEN 'not_given'
      WHEN expired.yes THEN 'expired'
      WHEN c.enabled THEN 'given'
      ELSE 'denied'
    END,
    CASE WHEN s.erased_at IS NULL THEN c.occurred_at END
  FROM jsonb_array_elements($1) WITH ORDINALITY AS asked (item, place)
  LEFT JOIN subject AS by_id ON by_id.id = (asked.item #>> '{user,id}')::uuid
  LEFT JOIN subject AS by_email ON by_email.email_key = fold_email(asked.item #>> '{user,email}')
  LEFT JOIN subject AS s ON s.subject_key = coalesce(by_id.subject_key, by_email.subject_key)
  LEFT JOIN consent AS k ON k.id = asked.item ->> 'consent'
  LEFT JOIN current_choice AS c ON c.subject_key = s.subject_key AND c.consent_key = k.consent_key
  LEFT JOIN consent_version AS v ON v.version_key = c.version_key
  CROSS JOIN LATERAL (
    SELECT coalesce(expiry(c.occurred_at, v.expires_after_days) <= now(), false) AS yes
  ) AS expired
  ORDER BY asked.place
$$;
COMMENT ON FUNCTION pmp.check_choices IS
  'POST /check: [{"user": {"id"} or {"email"}, "consent"}], answers in the same order. Everything but a current, '
  'unexpired grant is not allowed; reason is given, denied, expired, not_given, unknown_consent, erased or unknown_user.';

GRANT SELECT ON pmp.user_record, pmp.event_record TO pmp_app;
GRANT SELECT ON pmp.event_record TO pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.instant, pmp.expiry, pmp.replay, pmp.describe_choices TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.user_as_of, pmp.check_choices TO pmp_app;
COMMIT;
