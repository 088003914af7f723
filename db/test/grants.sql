BEGIN;
SET search_path = tap, pmp;
SELECT * FROM no_plan();

-- A compiler would take longer than a statement of the API.
SELECT ok('jit=off' = ANY (rolconfig), 'pmp_app compiles nothing') FROM pg_roles WHERE rolname = 'pmp_app';

-- The exact privileges of pmp_app on each table.
SELECT table_privs_are('pmp', relation, 'pmp_app', privileges, format('pmp_app on %s: exactly %s', relation, privileges))
FROM (VALUES
  ('source', '{SELECT}'::text[]), ('consent', '{SELECT}'), ('consent_version', '{SELECT}'), ('subject', '{SELECT}'), ('identifier', '{SELECT}'),
  ('event', '{SELECT}'), ('event_context', '{SELECT}'), ('feed_epoch', '{SELECT}'), ('mark', '{SELECT,INSERT,UPDATE}'), ('current_choice', '{SELECT}'), ('event_record', '{SELECT}'),
  ('erasure', '{SELECT}'), ('former_identifier', '{SELECT}'), ('idempotency_key', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('upstream_cache', '{SELECT,INSERT,UPDATE}'), ('vendor', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('import_job', '{SELECT,INSERT,UPDATE}'), ('import_reject', '{SELECT,INSERT,DELETE}'),
  ('export_job', '{SELECT,INSERT,UPDATE}'), ('import_mapping', '{SELECT,INSERT,UPDATE}'),
  ('trial_event', '{SELECT,DELETE}'), ('trial_choice', '{SELECT,DELETE}'), ('import_preview', '{SELECT,INSERT,DELETE}'),
  ('suppression', '{}'), ('confirmation', '{SELECT}'),
  ('subscription', '{SELECT,INSERT,UPDATE}'), ('delivery_lane', '{SELECT,INSERT,UPDATE}'),
  ('delivery', '{SELECT,INSERT}'), ('notice', '{SELECT}'), ('delivery_chain', '{SELECT,UPDATE}'),
  ('backfill', '{}'),
  ('removed_event', '{SELECT}'), ('retention_edge', '{SELECT}'), ('retention', '{SELECT}'), ('retention_walk', '{}'),
  ('retention_run', '{}'), ('legal_hold', '{}')
) AS expected (relation, privileges);

-- pmp_readonly reads everything except addresses and contexts, and files of imports, which have both.
SELECT table_privs_are('pmp', relation, 'pmp_readonly', privileges, format('pmp_readonly on %s: %s', relation, privileges))
FROM (VALUES
  ('source', '{SELECT}'::text[]), ('consent', '{SELECT}'), ('consent_version', '{SELECT}'), ('subject', '{}'), ('identifier', '{}'),
  ('event', '{SELECT}'), ('event_context', '{}'), ('feed_epoch', '{SELECT}'), ('mark', '{SELECT}'), ('current_choice', '{SELECT}'), ('event_record', '{SELECT}'),
  ('erasure', '{}'), ('former_identifier', '{}'), ('idempotency_key', '{}'),
  ('upstream_cache', '{SELECT}'), ('vendor', '{SELECT}'), ('import_job', '{}'), ('import_reject', '{}'),
  ('export_job', '{SELECT}'), ('import_mapping', '{SELECT}'), ('trial_event', '{}'), ('trial_choice', '{}'),
  ('import_preview', '{}'), ('suppression', '{}'), ('confirmation', '{}'),
  ('subscription', '{SELECT}'), ('delivery_lane', '{SELECT}'),
  ('delivery', '{SELECT}'), ('notice', '{SELECT}'), ('delivery_chain', '{SELECT}'),
  ('backfill', '{SELECT}'),
  ('removed_event', '{SELECT}'), ('retention_edge', '{SELECT}'), ('retention', '{SELECT}'), ('retention_walk', '{SELECT}'),
  ('retention_run', '{SELECT}'), ('legal_hold', '{SELECT}')
) AS expected (relation, privileges);
SELECT ok(has_column_privilege('pmp_readonly', 'pmp.subject', 'id', 'SELECT'));
SELECT ok(NOT has_column_privilege('pmp_readonly', 'pmp.subject', name, 'SELECT'), 'pmp_readonly sees no ' || name)
FROM unnest(ARRAY['email', 'email_key']) AS name;
SELECT ok(NOT has_column_privilege('pmp_readonly', 'pmp.import_job', name, 'SELECT'), 'pmp_readonly sees no ' || name)
FROM unnest(ARRAY['file_name', 'object_key', 'uploader', 'error', 'last_error', 'form', 'mapping']) AS name;
SELECT ok(NOT has_column_privilege('pmp_readonly', 'pmp.import_reject', name, 'SELECT'), 'pmp_readonly sees no ' || name)
FROM unnest(ARRAY['original', 'detail', 'pointer']) AS name;

-- The lists above name every table.
SELECT set_eq(
  $$SELECT relname::text FROM pg_class WHERE relnamespace = 'pmp'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f')$$,
  ARRAY['source', 'consent', 'consent_version', 'subject', 'event', 'event_context', 'feed_epoch', 'mark', 'current_choice', 'event_record', 'erasure',
    'former_identifier', 'identifier',
    'idempotency_key',
    'upstream_cache', 'vendor', 'import_job', 'import_reject', 'export_job', 'import_mapping',
    'trial_event', 'trial_choice', 'import_preview', 'suppression', 'confirmation',
    'subscription', 'delivery_lane', 'delivery', 'notice', 'delivery_chain',
    'backfill',
    'removed_event', 'retention_edge', 'retention', 'retention_walk', 'retention_run', 'legal_hold']
);

SELECT schema_privs_are('pmp', role, '{USAGE}') FROM unnest(ARRAY['pmp_app', 'pmp_readonly', 'pmp_retention']) AS role;
SELECT schema_owner_is('pmp', 'pmp_migrator');
SELECT database_privs_are('pmp', role, '{CONNECT}') FROM unnest(ARRAY['pmp_app', 'pmp_readonly']) AS role;
SELECT is_empty(
  $$SELECT rolname FROM pg_roles WHERE rolname LIKE 'pmp\_%' AND (rolsuper OR rolbypassrls OR rolreplication)$$
);
SELECT isnt_member_of('pmp_migrator', 'pmp_app');
-- Whoever is pmp_retention may remove events: nobody logs in as it, and it runs its functions only.
SELECT ok(NOT rolcanlogin, 'nobody logs in as pmp_retention') FROM pg_roles WHERE rolname = 'pmp_retention';
SELECT is_empty(
  $$SELECT m.member::regrole FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.member
    WHERE m.roleid = 'pmp_retention'::regrole AND r.rolname NOT IN ('pmp_migrator', 'pmp_admin')$$,
  'of pmp_retention only the migrator is a member, and who made it'
);
SELECT set_eq(
  $$SELECT proname::text FROM pg_proc WHERE proowner = 'pmp_retention'::regrole$$,
  ARRAY['remove_expired_events', 'remove_expired_events_at', 'remove_expired_records', 'remove_expired_records_at']
);
SELECT set_eq(
  $$SELECT relname::text FROM pg_class WHERE relnamespace = 'pmp'::regnamespace AND relkind = 'r'
      AND has_table_privilege('pmp_retention', oid, 'DELETE')$$,
  ARRAY['event', 'event_context', 'notice', 'delivery', 'import_job', 'import_reject', 'import_preview', 'export_job',
    'retention_walk'],
  'from these and no others pmp_retention removes rows'
);
SELECT set_eq(
  $$SELECT attname::text FROM pg_attribute
    WHERE attrelid = 'pmp.source'::regclass AND attnum > 0 AND has_column_privilege('pmp_retention', attrelid, attnum, 'UPDATE')$$,
  ARRAY['import_id', 'remaining'], 'it never changes which client a source is'
);

-- Only the roles named here can execute a function.
SELECT is_empty(
  $$SELECT proname FROM pg_proc WHERE pronamespace = 'pmp'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE')$$,
  'no function is open to PUBLIC'
);
SELECT set_eq(
  $$SELECT proname::text FROM pg_proc
    WHERE pronamespace = 'pmp'::regnamespace AND NOT has_function_privilege('pmp_app', oid, 'EXECUTE')$$,
  ARRAY['refuse_change', 'source_key', 'is_same_event', 'fits', 'transaction_number', 'overridden', 'erasure_lock', 'erased_lines', 'add_reasons',
    'merge_lines', 'try_lines', 'conflicting_lines', 'changes_answer', 'address_digest', 'apply_suppressions',
    'suppression_lock', 'suppress_lines', 'set_identifiers', 'take_turn', 'lock_subject', 'replay_erasure', 'context_digest', 'find_signalled',
    'highest_number', 'notice_erasure', 'notice_end', 'database_is_busy', 'run_backfill',
    'highest_number', 'notice_erasure', 'notice_end', 'removed_lines', 'retention_lock', 'lock_owners', 'retention_terms',
    'record_removal', 'remove_events', 'superseded_events', 'forgotten_events', 'remove_expired_events_at',
    'remove_expired_records_at', 'set_legal_hold', 'lift_legal_hold', 'keep_for_export'],
  'pmp_app may not call what works inside'
);
SELECT set_eq(
  $$SELECT proname::text FROM pg_proc WHERE pronamespace = 'pmp'::regnamespace AND prosecdef$$,
  ARRAY['put_consent', 'retire_consent', 'create_user', 'lock_user', 'change_user', 'merge_users', 'create_event', 'create_event_by_address', 'create_event_by_identifier', 'create_events', 'record_signal', 'prepare_erasure', 'erase_user', 'merge_lines', 'import_batch', 'analyze_grown',
    'delete_expired_confirmations', 'ask_confirmation', 'confirm', 'unsubscribe',
    'current_place', 'notice_erasure', 'notice_end', 'lock_owners', 'remove_expired_events', 'remove_expired_events_at',
    'remove_expired_records', 'remove_expired_records_at', 'set_legal_hold', 'lift_legal_hold', 'keep_for_export'],
  'these and no others run as their owner'
);
SELECT is_empty(
  $$SELECT proname FROM pg_proc WHERE pronamespace = 'pmp'::regnamespace AND prosecdef
    AND NOT coalesce('search_path=pmp, pg_temp' = ANY (proconfig), false)$$,
  'each of them has a fixed search path'
);

-- The privileges hold when used. (The failing statement also resets the role.)
SELECT throws_ok('SET LOCAL ROLE pmp_app; ' || statement, '42501', NULL, 'pmp_app: ' || statement) FROM unnest(ARRAY[
  'UPDATE pmp.event SET enabled = enabled', 'DELETE FROM pmp.event', 'TRUNCATE pmp.event',
  'INSERT INTO pmp.current_choice VALUES (1, 1, 1, now(), 1, true)', 'UPDATE pmp.subject SET email = NULL',
  'DELETE FROM pmp.import_job', 'CREATE TABLE pmp.mine ()', 'DROP TABLE pmp.vendor', 'CREATE TEMPORARY TABLE mine ()',
  'ALTER TABLE pmp.event DISABLE TRIGGER ALL', 'SELECT pmp.set_legal_hold(NULL, NULL, ''mine'', ''me'')',
  'SELECT pmp.remove_expired_events_at(''{}'', gen_random_uuid(), 1, now())', 'INSERT INTO pmp.removed_event VALUES (gen_random_uuid())'
]) AS statement;
SELECT throws_ok('SET LOCAL ROLE pmp_readonly; ' || statement, '42501', NULL, 'pmp_readonly: ' || statement)
FROM unnest(ARRAY['SELECT email FROM pmp.subject', 'SELECT pmp.get_user(gen_random_uuid())',
  'SELECT original FROM pmp.import_reject', 'SELECT file_name FROM pmp.import_job']) AS statement;
SELECT lives_ok(
  'SET LOCAL ROLE pmp_readonly; SELECT * FROM pmp.replay(1), pmp.event_record; RESET ROLE', 'pmp_readonly can replay a history'
);
SELECT lives_ok(
  'SET LOCAL ROLE pmp_readonly; SELECT j.id, state, accepted, code FROM pmp.import_job AS j JOIN pmp.import_reject ON import_id = j.id; '
  'RESET ROLE', 'pmp_readonly can count what imports did'
);
-- Not even the owner can rewrite history.
SELECT throws_ok('SET LOCAL ROLE pmp_migrator; ' || statement, '23001', NULL, 'owner: ' || statement) FROM unnest(ARRAY[
  'UPDATE pmp.event SET enabled = enabled', 'DELETE FROM pmp.event', 'TRUNCATE pmp.event', 'DELETE FROM pmp.subject',
  'UPDATE pmp.event_context SET context = context', 'TRUNCATE pmp.subject', 'UPDATE pmp.consent_version SET description = description'
]) AS statement;
-- Whoever waits for a user's row keeps a connection of the pool: few do, apart from what comes once, and jobs
-- (docs/adr/0233).
SELECT is(p.prosrc ~ '\mtake_turn\(', p.proname NOT IN ('merge_users', 'lock_owners'), format('%s is limited', p.proname))
FROM pg_proc AS p
WHERE p.pronamespace = 'pmp'::regnamespace
  AND p.prosrc ~ 'FROM (subject AS s|identifier AS i JOIN subject AS s)[^;]* FOR NO KEY UPDATE'
ORDER BY p.proname;
SELECT is(
  p.prosrc ~ 'lock_subject\(user_id, is_limited => false\)',
  p.proname IN ('prepare_erasure', 'erase_user'),
  format('%s is limited unless it erases', p.proname)
)
FROM pg_proc AS p
WHERE p.pronamespace = 'pmp'::regnamespace AND p.prosrc ~ '\mlock_subject\(user_id'
ORDER BY p.proname;

SELECT * FROM finish();
ROLLBACK;
