-- Verify pmp:create_catalogue on pg
BEGIN;
SELECT 1 / (pmp.instant('2026-01-02 03:04:05.000006+01') = '2026-01-02T02:04:05.000006Z')::int;
SELECT 1 / (count(*) = 2)::int FROM jsonb_array_elements(pmp.list_consents(NULL, 500)) AS c
WHERE c ->> 'id' IN ('email_notifications', 'sms_notifications');
-- A new wording creates a version; the same wording does not.
CREATE FUNCTION pg_temp.put(description text) RETURNS text LANGUAGE sql AS $$
  SELECT (put ->> 'outcome') || (put #>> '{consent,version}')
  FROM pmp.put_consent('verify', description, 'other', NULL, 'verify') AS put
$$;
SELECT 1 / (pg_temp.put('one') = 'created1')::int;
SELECT 1 / (pg_temp.put('two') = 'updated2')::int;
SELECT 1 / (pg_temp.put('two') = 'unchanged2')::int;
SELECT 1 / (pmp.get_consent('verify') ->> 'description' = 'two' AND pmp.get_consent('verify', 1) ->> 'description' = 'one')::int;
-- A version that requires new consent supersedes the earlier ones, once.
SELECT 1 / (put #>> '{consent,requires_new_consent}' = 'true')::int
FROM pmp.put_consent('verify', 'three', 'other', NULL, 'verify', '{"requires_new_consent": true, "model": "opt_out"}') AS put;
SELECT 1 / bool_and((v.superseded_at IS NOT NULL) = (v.version < 3))::int
FROM pmp.consent_version AS v JOIN pmp.consent AS k USING (consent_key) WHERE k.id = 'verify';
SELECT 1 / (pmp.get_consent('verify') ->> 'legal_basis' = 'legitimate_interests')::int;
-- Not even the owner can change a version.
DO $$
BEGIN
  UPDATE pmp.consent_version SET description = 'reworded';
  RAISE EXCEPTION 'consent_version accepts UPDATE';
EXCEPTION WHEN restrict_violation THEN NULL;
END
$$;
ROLLBACK;
