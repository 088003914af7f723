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
SELECT is(jsonb_array_length(list_users(NULL, 10, NULL, 'newsletter', true)), 1);
SELECT is(jsonb_array_length(list_users(NULL, 10, NULL, 'newsletter', false)), 0);

-- A denial never expires.
SELECT is(put_consent('limited', 'A limited time', 'email', 1, 'test') ->> 'outcome', 'created');
SELECT is(pg_temp.tell(22, 'limited', false, now() - interval '2 days') ->> 'outcome', 'created');
SELECT is(pg_temp.consents() @> '[{"id": "limited", "enabled": false}]'
  AND NOT pg_temp.consents() @> '[{"id": "limited", "reason": "expired"}]', true, 'a denial does not expire');
SELECT is(check_consents(jsonb_build_array(jsonb_build_object('user', jsonb_build_object('id', id), 'consent', 'limited')))
  #>> '{0,reason}', 'denied') FROM person;
SELECT is(jsonb_array_length(list_users(NULL, 10, NULL, 'limited', false)), 1);
SELECT is(jsonb_array_length(list_users(NULL, 10, 'ada@example.invalid', 'limited', false)), 1);
SELECT is(users, 1::bigint, 'an export of denials holds it')
FROM export_page((SELECT subject_key - 1 FROM subject AS s JOIN person USING (id)), 1, 'limited', false, clock_timestamp());

-- The projection equals the replay.
SELECT set_eq(
  'SELECT r.* FROM subject AS s CROSS JOIN LATERAL replay(s.subject_key) AS r', 'SELECT * FROM current_choice'
);

-- Pages of a user's events by occurred_at.
SELECT is(jsonb_array_length(list_user_events(id, NULL, NULL, 100)), 13) FROM person;
SELECT is(list_user_events(id, NULL, NULL, 1) #>> '{0,occurred_at}', '2020-01-01T00:00:00.000000Z') FROM person;
SELECT is(jsonb_array_length(list_user_events(id, '2020-01-01Z', 9223372036854775807, 100)), 12) FROM person;
SELECT is(export_user(id) #>> '{wordings,0,id}', 'email_notifications', 'an export shows the wordings') FROM person;

-- Erasure removes the address everywhere, keeps the events and frees the address.
SELECT lives_ok($$SELECT idempotency_finish('test', 'key', 'mark', 201, '{}', '{"email": "ada@example.invalid"}')$$);
SELECT ok(erase_user(id, 'test')) FROM person;
SELECT is(get_user(id), '{"erased": true}') FROM person;
SELECT is(pg_temp.tell(30, 'newsletter', true, NULL), '{"outcome": "erased"}');
SELECT is(check_consents(jsonb_build_array(jsonb_build_object('user', jsonb_build_object('id', id), 'consent', 'newsletter'))),
  '[{"allowed": false, "reason": "erased", "since": null}]') FROM person;
SELECT is(count(*), 13::bigint, 'the proof stays') FROM event AS e JOIN subject AS s USING (subject_key) JOIN person AS p ON p.id = s.id;
SELECT is(count(*), 0::bigint, 'no kept answer tells of her') FROM idempotency_key WHERE body LIKE '%ada%';
SELECT isnt(create_user('ada@example.invalid', 'test') ->> 'id', id::text) FROM person;
SELECT * FROM finish();
ROLLBACK;
