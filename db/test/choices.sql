BEGIN;
SET search_path = tap, pmp;
SELECT * FROM no_plan();

CREATE TEMPORARY TABLE person AS SELECT (create_user('Ada@Example.invalid', 'test') ->> 'id')::uuid AS id;
CREATE FUNCTION pg_temp.tell(number integer, consent text, enabled boolean, at timestamptz) RETURNS jsonb LANGUAGE sql AS $$
  SELECT create_event(
    ('10000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, person.id,
    jsonb_build_array(jsonb_build_object('id', consent, 'enabled', enabled)), at, 'test'
  ) FROM person
$$;
CREATE FUNCTION pg_temp.consents(as_of timestamptz DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
  SELECT get_user(person.id, as_of) -> 'consents' FROM person
$$;

-- The published contract's example.
SELECT is(pg_temp.consents(), '[]');
SELECT is(pg_temp.tell(1, 'email_notifications', true, NULL) ->> 'outcome', 'created');
SELECT is(create_event('10000000-0000-4000-8000-000000000002', person.id,
  '[{"id": "email_notifications", "enabled": false}, {"id": "sms_notifications", "enabled": true}]', NULL, 'test')
  #>> '{event,source}', 'test') FROM person;
SELECT is(pg_temp.consents(),
  '[{"id": "email_notifications", "enabled": false}, {"id": "sms_notifications", "enabled": true}]');

-- An event from a fast clock counts when it was received; the told instant is kept.
SELECT is(pg_temp.tell(3, 'sms_notifications', false, now() + interval '4 minutes') ->> 'outcome', 'created');
SELECT is(get_event('10000000-0000-4000-8000-000000000003') ->> 'occurred_at', instant(now() + interval '4 minutes'));
SELECT is(pg_temp.consents(), pg_temp.consents(clock_timestamp()), 'nothing counts in the future');
SELECT is(pg_temp.tell(4, 'sms_notifications', true, clock_timestamp()) ->> 'outcome', 'created');
SELECT is(pg_temp.consents() -> 1, '{"id": "sms_notifications", "enabled": true}', 'a later choice counts, with its instant');
SELECT is(pg_temp.tell(6, 'sms_notifications', false, now() + interval '1 minute') ->> 'outcome', 'created');
SELECT is(pg_temp.tell(7, 'sms_notifications', true, NULL) ->> 'outcome', 'created');
SELECT is(pg_temp.consents() -> 1, '{"id": "sms_notifications", "enabled": true}', 'a later choice counts, without an instant');
SELECT is(get_event('10000000-0000-4000-8000-000000000007') ->> 'occurred_at',
  get_event('10000000-0000-4000-8000-000000000007') ->> 'received_at', 'without an instant it counts at its receipt');
SELECT is(pg_temp.tell(5, 'sms_notifications', true, now() + interval '6 minutes') ->> 'outcome', 'in_future');

-- Late events, and events of the same instant.
SELECT is(pg_temp.tell(11, 'email_notifications', true, '2020-01-01Z') ->> 'outcome', 'created');
SELECT is(pg_temp.consents() -> 0 -> 'enabled', 'false', 'a late event changes nothing');
SELECT is(pg_temp.consents('2020-01-01Z'), '[{"id": "email_notifications", "enabled": true}]', 'as of then');
SELECT is(pg_temp.consents('2019-12-31Z'), '[]', 'as of before');

-- An instant without a fraction of a second covers its second: a denial counts at the end, a grant at the start.
SELECT is(put_consent('second', 'A second', 'web', NULL, 'test') ->> 'outcome', 'created');
CREATE FUNCTION pg_temp.tell_second(number integer, enabled boolean, at timestamptz, has_fraction boolean) RETURNS text LANGUAGE sql AS $$
  SELECT create_event(
    ('30000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, person.id,
    jsonb_build_array(jsonb_build_object('id', 'second', 'enabled', enabled)), at, 'test', has_fraction
  ) #>> '{event,occurred_at}' FROM person
$$;
SELECT is(pg_temp.tell_second(1, true, '2021-01-01T10:00:00.5Z', true), '2021-01-01T10:00:00.500000Z');
SELECT is(pg_temp.tell_second(2, false, '2021-01-01T10:00:00Z', false), '2021-01-01T10:00:00Z', 'an instant is shown as told');
SELECT is(pg_temp.consents() @> '[{"id": "second", "enabled": false}]', true, 'a denial covers its second');
SELECT is(pg_temp.consents('2021-01-01T10:00:00.6Z') @> '[{"id": "second", "enabled": true}]', true, 'and counts at its end');
SELECT is(pg_temp.consents('2021-01-01T10:00:00.999999Z') @> '[{"id": "second", "enabled": false}]', true);
SELECT is(pg_temp.tell_second(3, true, '2021-01-01T10:00:01Z', false), '2021-01-01T10:00:01Z');
SELECT is(pg_temp.consents('2021-01-01T10:00:01Z') @> '[{"id": "second", "enabled": true}]', true, 'a grant counts at the start');

-- Repeated ids.
SELECT is(pg_temp.tell(11, 'email_notifications', true, '2020-01-01Z') ->> 'outcome', 'repeated');
SELECT is(pg_temp.tell(11, 'email_notifications', true, '2020-01-01Z') -> 'event' ->> 'id', '10000000-0000-4000-8000-000000000011');
SELECT is(pg_temp.tell(11, 'email_notifications', false, '2020-01-01Z'), '{"outcome": "conflict"}');
SELECT is(pg_temp.tell(11, 'sms_notifications', true, '2020-01-01Z'), '{"outcome": "conflict"}');
SELECT is(pg_temp.tell(11, 'email_notifications', true, '2020-01-02Z'), '{"outcome": "conflict"}');
SELECT is(pg_temp.tell(11, 'email_notifications', true, NULL), '{"outcome": "conflict"}');
SELECT is(pg_temp.tell(12, 'nothing', true, NULL), '{"outcome": "unknown_consent", "index": 0}');

-- Expiry and versions.
SELECT is(put_consent('newsletter', 'Weekly', 'email', 30, 'test') ->> 'outcome', 'created');
SELECT is(pg_temp.tell(20, 'newsletter', true, now() - interval '31 days') ->> 'outcome', 'created');
SELECT is(pg_temp.consents() -> 3, '{"id": "newsletter", "enabled": false, "reason": "expired"}');
SELECT is(check_consents(jsonb_build_array(jsonb_build_object('user', jsonb_build_object('email', 'ADA@example.invalid'), 'consent', 'newsletter')))
  #>> '{0,reason}', 'expired');
SELECT is(put_consent('newsletter', 'Daily', 'email', NULL, 'test') #>> '{consent,version}', '2');
SELECT is(pg_temp.tell(21, 'newsletter', true, now()) #>> '{event,consents,0,version}', '2', 'the newest version is answered');
SELECT is(check_consents(jsonb_build_array(jsonb_build_object('user', jsonb_build_object('id', id), 'consent', 'newsletter')))
  #>> '{0,allowed}', 'true') FROM person;
SELECT is(jsonb_array_length(list_users_by_choice(NULL, 10, 'newsletter', true) -> 'items'), 1);
SELECT is(jsonb_array_length(list_users_by_choice(NULL, 10, 'newsletter', false) -> 'items'), 0);

-- A denial never expires.
SELECT is(put_consent('limited', 'A limited time', 'email', 1, 'test') ->> 'outcome', 'created');
SELECT is(pg_temp.tell(22, 'limited', false, now() - interval '2 days') ->> 'outcome', 'created');
SELECT is(pg_temp.consents() @> '[{"id": "limited", "enabled": false}]'
  AND NOT pg_temp.consents() @> '[{"id": "limited", "reason": "expired"}]', true, 'a denial does not expire');
SELECT is(check_consents(jsonb_build_array(jsonb_build_object('user', jsonb_build_object('id', id), 'consent', 'limited')))
  #>> '{0,reason}', 'denied') FROM person;
SELECT is(jsonb_array_length(list_users_by_choice(NULL, 10, 'limited', false) -> 'items'), 1);
SELECT is(jsonb_array_length(find_user('ada@example.invalid', 'limited', false)), 1);
SELECT is(users, 1::bigint, 'an export of denials holds it')
FROM export_page((SELECT subject_key - 1 FROM subject AS s JOIN person USING (id)), 1, 'limited', false, clock_timestamp(), clock_timestamp());

-- What an event does not change, and why.
SELECT is(put_consent('wording', 'First', 'web', NULL, 'test') ->> 'outcome', 'created');
SELECT is(pg_temp.tell(40, 'wording', true, now() - interval '1 hour') #> '{event,overridden}', NULL, 'every choice counts');
SELECT is(pg_temp.tell(41, 'wording', false, now() - interval '2 hours') #> '{event,overridden}', jsonb_build_array(
  jsonb_build_object('id', 'wording', 'enabled', true, 'since', instant(now() - interval '1 hour'), 'reason', 'later_choice')
), 'a denial that is told late says what counts');
SELECT is(pg_temp.tell(42, 'wording', false, now() - interval '1 hour') #> '{event,overridden}', NULL, 'a denial wins the tie');
SELECT is(pg_temp.tell(43, 'wording', true, now() - interval '1 hour') #>> '{event,overridden,0,reason}',
  'denial_at_same_instant');
SELECT is(pg_temp.tell(43, 'wording', true, now() - interval '1 hour') #>> '{event,overridden,0,reason}',
  'denial_at_same_instant', 'a repeated event says it again');

-- The wording in force at the instant. (Within this transaction, only this one has another created_at.)
INSERT INTO consent_version (consent_key, version, description, channel, created_at, source_key)
SELECT consent_key, 2, 'Second', 'web', now() + interval '1 microsecond', source_key('test') FROM consent WHERE id = 'wording';
CREATE FUNCTION pg_temp.tell_version(number integer, version integer, at timestamptz, has_fraction boolean) RETURNS jsonb LANGUAGE sql AS $$
  SELECT create_event(
    ('40000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, person.id,
    jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('id', 'wording', 'enabled', true, 'version', version))), at, 'test',
    has_fraction
  ) FROM person
$$;
SELECT is(pg_temp.tell_version(1, NULL, now(), true) #>> '{event,consents,0,version}', '1', 'the wording in force at the instant');
SELECT is(pg_temp.tell_version(2, NULL, NULL, true) #>> '{event,consents,0,version}', '2', 'without an instant: now');
SELECT is(pg_temp.tell_version(3, NULL, now() - interval '1 year', true) #>> '{event,consents,0,version}', '1', 'or the first');
SELECT is(pg_temp.tell_version(4, 2, now(), true), jsonb_build_object('outcome', 'version_too_new', 'index', 0,
  'created_at', instant(now() + interval '1 microsecond')));
SELECT is(pg_temp.tell_version(5, 2, date_trunc('second', now()), false) ->> 'outcome', 'created', 'it appeared in that second');
SELECT is(pg_temp.tell_version(6, 1, NULL, true) #>> '{event,consents,0,version}', '1', 'an older version may be named');
SELECT is(pg_temp.tell_version(7, 2, now() + interval '4 minutes', true) ->> 'outcome', 'created');

-- As of an instant, as far as it was known at another. This event of 2022 was received just now.
SELECT is(put_consent('history', 'History', 'web', NULL, 'test') ->> 'outcome', 'created');
SELECT is(pg_temp.tell(50, 'history', true, '2022-01-01Z') ->> 'outcome', 'created');
CREATE FUNCTION pg_temp.everywhere(as_of timestamptz, known_at timestamptz) RETURNS SETOF boolean LANGUAGE sql AS $$
  SELECT get_user(id, as_of, known_at) -> 'consents' @> '[{"id": "history", "enabled": true}]' FROM person
  UNION ALL
  SELECT (check_consents(jsonb_build_array(jsonb_build_object('user', jsonb_build_object('id', id), 'consent', 'history')),
    as_of, known_at) #>> '{0,allowed}')::boolean FROM person
  UNION ALL
  SELECT list_user_events(id, NULL, NULL, 100, as_of, known_at) @> '[{"consents": [{"id": "history"}]}]' FROM person
  UNION ALL
  SELECT find_user('ada@example.invalid', 'history', true, as_of, known_at) <> '[]'
  UNION ALL
  SELECT list_users_by_choice(NULL, 10, 'history', true, as_of, known_at) -> 'items' <> '[]'
  UNION ALL
  SELECT users = 1 FROM export_page((SELECT subject_key - 1 FROM subject AS s JOIN person USING (id)), 1, 'history', true,
    coalesce(as_of, known_at), known_at)
$$;
SELECT results_eq(format('SELECT * FROM pg_temp.everywhere(%L, %L)', as_of, known_at), ARRAY(
  SELECT expected FROM generate_series(1, 6)
), format('as of %s, known at %s', as_of, known_at))
FROM (VALUES
  ('2022-01-01Z'::timestamptz, NULL, true), ('2021-12-31 23:59:59.999999Z', NULL, false), ('2022-01-01Z', now(), false),
  ('2022-01-01Z', clock_timestamp(), true), (NULL, now(), false), (NULL, clock_timestamp(), true)
) AS at (as_of, known_at, expected);

-- By address, and many at once: each is recorded or refused alone, in the order of the array.
SELECT is(create_event_by_address('50000000-0000-4000-8000-000000000001', 'ADA@example.invalid', NULL, false,
  '[{"id": "history", "enabled": false}]', NULL, 'test', true) #>> '{event,user,id}', id::text) FROM person;
CREATE FUNCTION pg_temp.item(number integer, email text, consent text, enabled boolean, at timestamptz DEFAULT NULL)
RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', '51000000-0000-4000-8000-' || lpad(number::text, 12, '0'), 'email', email,
    'is_upsert', true, 'has_fraction', true, 'happened_at', at, 'address_hash', encode(sha256('bob'), 'hex'),
    'choices', jsonb_build_array(jsonb_build_object('id', consent, 'enabled', enabled)))
$$;
SELECT is(jsonb_path_query_array(create_events(jsonb_build_array(
  pg_temp.item(1, 'bob@example.invalid', 'history', true), pg_temp.item(2, 'eve@example.invalid', 'nothing', true),
  pg_temp.item(3, 'ada@example.invalid', 'history', true), pg_temp.item(1, 'bob@example.invalid', 'history', true),
  pg_temp.item(1, 'bob@example.invalid', 'history', false), pg_temp.item(4, 'BOB@example.invalid', 'history', false)
), 'test'), '$[*].outcome'), '["created", "unknown_consent", "created", "repeated", "conflict", "created"]');
SELECT is(count(*), 0::bigint, 'what adds no event makes no user') FROM subject WHERE email_key = 'eve@example.invalid';
SELECT is(find_user('bob@example.invalid') #> '{0,consents}', '[{"id": "history", "enabled": false}]', 'the last one counts');
SELECT is(get_event('51000000-0000-4000-8000-000000000001') ->> 'source', 'test');

-- An event keeps its context until its user is erased, and is the same event only with the same context.
CREATE FUNCTION pg_temp.tell_context(context jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT create_event('60000000-0000-4000-8000-000000000001', id, '[{"id": "history", "enabled": true}]', NULL, 'test', true,
    context) FROM person
$$;
SELECT is(pg_temp.tell_context('{"ip": "192.0.2.1"}') #>> '{event,context,ip}', '192.0.2.1');
SELECT is(pg_temp.tell_context('{"ip": "192.0.2.1"}') ->> 'outcome', 'repeated');
SELECT is(pg_temp.tell_context('{"ip": "192.0.2.2"}') ->> 'outcome', 'conflict');
SELECT is(pg_temp.tell_context(NULL) ->> 'outcome', 'conflict');
SELECT is(get_event('50000000-0000-4000-8000-000000000001') ? 'context', false, 'an event without a context has none');

-- The projection equals the replay.
SELECT set_eq(
  'SELECT r.* FROM subject AS s CROSS JOIN LATERAL replay(s.subject_key) AS r', 'SELECT * FROM current_choice'
);

-- What was chosen before an erasure brings nobody back.
SELECT ok(erase_user(id, 'test', ARRAY[sha256('bob')], now() + interval '1 second')) FROM subject WHERE email_key = 'bob@example.invalid';
SELECT is(create_events(jsonb_build_array(
  pg_temp.item(1, 'bob@example.invalid', 'history', true), pg_temp.item(5, 'bob@example.invalid', 'history', true, now()),
  pg_temp.item(6, 'bob@example.invalid', 'history', true, now() + interval '2 seconds'),
  pg_temp.item(7, 'bob@example.invalid', 'history', true, now())
), 'test') #- '{2,event}', '[{"outcome": "erased"}, {"outcome": "erased_since"}, {"outcome": "created"}, {"outcome": "erased_since"}]');

-- Pages of a user's events by occurred_at.
SELECT is(jsonb_array_length(list_user_events(id, NULL, NULL, 100)), 27) FROM person;
SELECT is(list_user_events(id, NULL, NULL, 1) #>> '{0,occurred_at}', '2020-01-01T00:00:00.000000Z') FROM person;
SELECT is(jsonb_array_length(list_user_events(id, '2020-01-01Z', 9223372036854775807, 100)), 26) FROM person;
SELECT is(export_user(id) #>> '{wordings,0,id}', 'email_notifications', 'an export shows the wordings') FROM person;

-- Erasure removes the address everywhere, keeps the events and frees the address.
SELECT lives_ok($$SELECT idempotency_finish('test', 'key', 'mark', 201, '{}', '{"email": "ada@example.invalid"}', id) FROM person$$);
SELECT ok(erase_user(id, 'test', ARRAY[sha256('ada')], clock_timestamp())) FROM person;
SELECT is(get_user(id), '{"erased": true}') FROM person;
SELECT is(pg_temp.tell(30, 'newsletter', true, NULL), '{"outcome": "erased"}');
SELECT is(check_consents(jsonb_build_array(jsonb_build_object('user', jsonb_build_object('id', id), 'consent', 'newsletter'))),
  jsonb_build_array(jsonb_build_object('allowed', false, 'reason', 'erased', 'model', 'opt_in', 'since', null, 'user', id))) FROM person;
SELECT is(count(*), 27::bigint, 'the proof stays') FROM event AS e JOIN subject AS s USING (subject_key) JOIN person AS p ON p.id = s.id;
SELECT is(get_event('60000000-0000-4000-8000-000000000001') ? 'context', false, 'without its context');
SELECT is(count(*), 0::bigint, 'no kept answer tells of her') FROM idempotency_key WHERE body LIKE '%ada%';
SELECT isnt(create_user('ada@example.invalid', 'test') ->> 'id', id::text) FROM person;
SELECT * FROM finish();
ROLLBACK;
