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
          describe_choice(k.id, c.enabled, expiry(c.enabled, c.counts_at, v.expires_after_days), as_of)
          ORDER BY c.consent_key
        ), '[]')
        FROM replay(p.subject_key, as_of, known_at) AS c
        JOIN consent_version AS v USING (version_key)
        JOIN consent AS k ON k.consent_key = c.consent_key
      )) AS document
      FROM page AS p WHERE p.erased_at IS NULL
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
GRANT EXECUTE ON FUNCTION pmp.export_page TO pmp_app;
COMMIT;
