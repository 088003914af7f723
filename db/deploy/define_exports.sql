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
      SELECT s.subject_key, s.erased_at, s AS person FROM subject AS s
      WHERE s.subject_key > after_key ORDER BY s.subject_key LIMIT row_limit
    ), described AS MATERIALIZED (
      SELECT p.subject_key, describe_user(p.person, as_of, known_at) AS document FROM page AS p WHERE p.erased_at IS NULL
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
