-- What may leave the record, and by whom.
BEGIN;
SET search_path = tap, pmp;
SELECT * FROM no_plan();

CREATE FUNCTION pg_temp.record(id integer, enabled boolean) RETURNS void LANGUAGE sql AS $$
  SELECT pmp.create_event(
    ('00000000-0000-4000-9000-00000000000' || id)::uuid, '00000000-0000-4000-8000-000000000001',
    jsonb_build_array(jsonb_build_object('id', 'email_notifications', 'enabled', enabled)), NULL, 'tap', true, '{}'
  )
$$;
INSERT INTO subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'tap@example.com', source_key('tap'));
SELECT pg_temp.record(1, true);
SELECT pg_temp.record(2, false);
SELECT pg_temp.record(3, true);
-- As if another transaction had added them long ago.
SET LOCAL session_replication_role = replica;
UPDATE event SET transaction_number = sequence - (SELECT min(e.sequence) FROM event AS e) + 1,
  received_at = received_at - interval '100 days', occurred_at = occurred_at - interval '100 days';
UPDATE current_choice SET counts_at = counts_at - interval '100 days';
SET LOCAL session_replication_role = origin;

CREATE FUNCTION pg_temp.leave(days integer, most integer DEFAULT 100) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  answer jsonb;
BEGIN
  SET LOCAL ROLE pmp_app;
  answer := pmp.remove_expired_events(jsonb_build_object('days', days), '00000000-0000-4000-8000-00000000000a', most);
  RESET ROLE;
  RETURN answer;
END
$$;
SELECT is(pg_temp.leave(NULL), '{"more": false, "removed": 0}', 'without a policy nothing leaves');
SELECT throws_ok($$SELECT pmp.remove_expired_events('{"days": 29}', gen_random_uuid(), 1)$$, '22023', NULL, '30 days at least');
SELECT is(pg_temp.leave(101) -> 'removed', '0', 'what is younger stays');
SELECT is(set_legal_hold('00000000-0000-4000-8000-000000000009', NULL, 'why', 'me') ->> 'outcome', 'unknown_user');
SELECT is(set_legal_hold('00000000-0000-4000-8000-000000000001', NULL, 'why', 'me') ->> 'outcome', 'set');
SELECT is(pg_temp.leave(99) -> 'removed', '0', 'what is held stays');
SELECT is(lift_legal_hold(h.id, 'other') ->> 'outcome', 'lifted') FROM legal_hold AS h;
SELECT is(lift_legal_hold(h.id, 'other') ->> 'outcome', 'lifted_before') FROM legal_hold AS h;
SELECT is(lift_legal_hold(gen_random_uuid(), 'other') ->> 'outcome', 'unknown');
SELECT set_eq('SELECT set_by, reason, lifted_by FROM legal_hold', $$VALUES ('me'::text, 'why'::text, 'other'::text)$$, 'a hold is recorded');
SELECT is(array_agg(pg_temp.leave(99, 1) -> 'removed'), ARRAY['0', '1', '0', '1', '0', '0']::jsonb[],
  'a portion looks at one event, removes one, and goes on from the same place if it is full')
FROM generate_series(1, 6);
SELECT is(pg_temp.leave(99, 1), '{"more": false, "removed": 0}', 'the current choice stays');
SELECT results_eq('SELECT id FROM event', $$VALUES ('00000000-0000-4000-9000-000000000003'::uuid)$$);
SELECT results_eq('SELECT sequence FROM event_context', 'SELECT sequence FROM event', 'a context leaves with its event');
SELECT set_eq('SELECT id::text FROM removed_event', $$VALUES
  ('00000000-0000-4000-9000-000000000001'), ('00000000-0000-4000-9000-000000000002')$$);
SELECT is(create_event('00000000-0000-4000-9000-000000000001', '00000000-0000-4000-8000-000000000001',
  '[{"id": "email_notifications", "enabled": true}]', NULL, 'tap'), '{"outcome": "removed"}', 'its id is not given again');
SELECT set_eq(
  'SELECT kind, days, called_by, portions, removed, edge < now() - interval ''99 days'' FROM retention_run',
  $$VALUES ('events', 99, session_user::text, 2::bigint, 2::bigint, true)$$, 'who, how many, up to what edge'
);
SELECT is(describe_choices('00000000-0000-4000-8000-000000000001') #>> '{0,event}', '00000000-0000-4000-9000-000000000003');
SELECT throws_ok(
  'SELECT pmp.get_user(''00000000-0000-4000-8000-000000000001'', now() - interval ''101 days'')', 'PMP03', 'as_of'
);
SELECT throws_ok(
  'SELECT pmp.get_user(''00000000-0000-4000-8000-000000000001'', NULL, now() - interval ''101 days'')', 'PMP03', 'known_at'
);
SELECT lives_ok('SELECT pmp.get_user(''00000000-0000-4000-8000-000000000001'', now() - interval ''99 days'')');

-- The proof of an erased user leaves when the erasure is as old.
SELECT erase_user('00000000-0000-4000-8000-000000000001', 'tap', ARRAY[sha256('tap')], now() - interval '50 days');
SELECT is(pg_temp.leave(51) -> 'removed', '0', 'the erasure is younger');
SELECT is((pg_temp.leave(49) -> 'removed')::int + (pg_temp.leave(49) -> 'removed')::int, 1, 'all of an erased user leaves');
SELECT is_empty('SELECT FROM event');
SELECT is(count(*) FILTER (WHERE w.erased_at > now() - interval '60 days') > 0, true, 'an erasure was passed') FROM retention_walk AS w;
SELECT replay_erasure(ARRAY[gen_random_uuid()], ARRAY[sha256('tap')], now() - interval '70 days');
SELECT is(max(w.erased_at), now() - interval '70 days', 'one that is replayed later is not') FROM retention_walk AS w;

-- Notices that a receiver was not told yet, and jobs whose file is still there, stay.
INSERT INTO notice (transaction_number, type, subject_id, document, created_at)
VALUES (1, 'user.erased', gen_random_uuid(), '{}', now() - interval '100 days'),
  (2, 'user.erased', gen_random_uuid(), '{}', now() - interval '100 days');
INSERT INTO subscription (id, url, description, client, is_enabled) VALUES (gen_random_uuid(), 'https://x', '', 'tap', true);
INSERT INTO delivery_lane (subscription_key, lane, number, sequence)
SELECT s.subscription_key, lane, 1, 9223372036854775807 FROM subscription AS s
CROSS JOIN unnest(ARRAY['prompt', 'bulk', 'notices']) AS lane;
SELECT is(remove_expired_records('notices', 90, gen_random_uuid(), 10), 1::bigint, 'the one that was told');
INSERT INTO import_job (id, state, format, compression, client, bucket, object_key, object_version, created_at, finished_at, removed_at)
SELECT gen_random_uuid(), 'succeeded', 'csv', 'none', 'tap', 'b', 'k', n::text, at, at, CASE WHEN n > 1 THEN at END
FROM generate_series(1, 3) AS n CROSS JOIN (SELECT now() - interval '100 days' AS at) AS old;
SELECT is(remove_expired_records('imports', 90, gen_random_uuid(), 1), 1::bigint, 'a portion of one');
SELECT is(remove_expired_records('imports', 90, gen_random_uuid(), 10), 1::bigint, 'not the one whose file is still there');
INSERT INTO delivery
SELECT s.subscription_key, 'prompt', 1, n, 1, n - 1, 1, now() - n * interval '40 days' FROM subscription AS s, generate_series(1, 3) AS n;
SELECT is(remove_expired_records('deliveries', 90, gen_random_uuid(), 10), 1::bigint);
SELECT throws_ok('SELECT pmp.remove_expired_records(''imports'', 29, gen_random_uuid(), 1)', '22023', NULL, '30 days at least');

-- The role passes the trigger for events, and nobody else does.
SELECT throws_ok('SET LOCAL ROLE pmp_retention; DELETE FROM pmp.subject', '42501', NULL, 'pmp_retention: no user');
SELECT throws_ok('SET LOCAL ROLE pmp_retention; UPDATE pmp.event SET enabled = enabled', '42501', NULL, 'pmp_retention: no change');
SELECT * FROM finish();
ROLLBACK;
