-- Deploy pmp:define_exports to pg
BEGIN;
CREATE FUNCTION pmp.export_page(
  after_key bigint, row_limit integer, consent_id text, choice boolean, at timestamptz
) RETURNS TABLE (last_key bigint, users bigint, lines text)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  -- The limit applies before the filter, so that a page never reads more than row_limit users.
  RETURN QUERY
    WITH page AS (
      SELECT s.* FROM subject AS s WHERE s.subject_key > after_key ORDER BY s.subject_key LIMIT row_limit
    ), described AS (
      SELECT p.subject_key, jsonb_build_object('id', p.id, 'email', p.email, 'consents', (
        SELECT coalesce(jsonb_agg(
          describe_choice(k.id, c.enabled, expiry(c.enabled, c.counts_at, v.expires_after_days), at) ORDER BY c.consent_key
        ), '[]')
        FROM replay(p.subject_key, at) AS c
        JOIN consent_version AS v USING (version_key)
        JOIN consent AS k ON k.consent_key = c.consent_key
      )) AS document
      FROM page AS p WHERE p.erased_at IS NULL AND p.created_at <= at
    )
    SELECT
      (SELECT max(p.subject_key) FROM page AS p), count(d.document),
      coalesce(string_agg(d.document::text || E'\n', '' ORDER BY d.subject_key), '')
    FROM described AS d
    WHERE consent_id IS NULL
      OR d.document -> 'consents' @> jsonb_build_array(jsonb_build_object('id', consent_id, 'enabled', choice))
        -- An expired grant counts as not given: neither granted nor denied.
        AND NOT d.document -> 'consents' @> jsonb_build_array(jsonb_build_object('id', consent_id, 'reason', 'expired'));
END
$$;
COMMENT ON FUNCTION pmp.export_page IS
  'The next page of an export as NDJSON: users after after_key, as of an instant; last_key NULL: no more users.';
GRANT EXECUTE ON FUNCTION pmp.export_page TO pmp_app;
COMMIT;
