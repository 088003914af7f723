-- Verify pmp:define_deliveries on pg
BEGIN;
INSERT INTO pmp.subscription (id, url, description, client, is_enabled)
VALUES ('00000000-0000-4000-8000-000000000001', 'https://verify.example', '', 'verify', true);
CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT subscription_key AS key FROM pmp.subscription WHERE client = 'verify';
INSERT INTO pmp.delivery_lane (subscription_key, lane, number, sequence, lease_owner)
SELECT m.key, 'prompt', p.number, p.sequence, '00000000-0000-4000-8000-000000000002'
FROM mine AS m CROSS JOIN pmp.current_place() AS p;
SELECT 1 / (pmp.claim_lanes('00000000-0000-4000-8000-000000000003', 60, 0) = '{"lanes": [], "expected": true}')::int;
CREATE FUNCTION pg_temp.begin(owner integer) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pmp.begin_delivery(m.key, 'prompt', ('00000000-0000-4000-8000-00000000000' || owner)::uuid, 60, 10, 100) FROM mine AS m
$$;
SELECT 1 / (pg_temp.begin(9) IS NULL)::int;
-- Nothing is told of this transaction, which has not ended.
SELECT 1 / (pg_temp.begin(2) = '{"items": [], "more": false}')::int;
SELECT 1 / (pg_temp.begin(2) IS NULL)::int;
SELECT 1 / (NOT pmp.end_delivery(m.key, 'prompt', gen_random_uuid(), gen_random_uuid()))::int FROM mine AS m;
SELECT 1 / (NOT pmp.postpone_delivery(m.key, 'prompt', gen_random_uuid(), 'verify', 1))::int FROM mine AS m;
SELECT 1 / (pmp.told_events(0, 0, 0, 0, true, NULL, 1) = '[]' AND pmp.told_notices(0, 0, 0, 0, 1) = '[]')::int;
SELECT 1 / (pmp.told_of(1, 1, 'prompt', NULL) = '[]')::int;
SELECT 1 / (pmp.list_deliveries('00000000-0000-4000-8000-000000000009', NULL, NULL, 10) IS NULL)::int;
ROLLBACK;
