BEGIN;
SET search_path = tap, pmp;
SELECT * FROM no_plan();

CREATE TEMPORARY TABLE person AS SELECT (create_user('terms@example.invalid', 'test') ->> 'id')::uuid AS id;
-- The terms of a consent: what silence means, and when it has to be given again.
CREATE FUNCTION pg_temp.answer(consent text, country text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', r ->> 'allowed', r ->> 'reason', r ->> 'model')
  FROM person, jsonb_array_elements(check_consents(jsonb_build_array(jsonb_build_object(
    'user', jsonb_build_object('id', person.id), 'consent', consent, 'country', country
  )))) AS r
$$;
SELECT is(put_consent('terms', 'Terms', 'web', NULL, 'test', '{"model": "legitimate_interest", "models_by_country": {"DE": "opt_in"}}')
  #>> '{consent,legal_basis}', 'legitimate_interests');
SELECT is(pg_temp.answer('terms'), 'true not_given legitimate_interest');
SELECT is(pg_temp.answer('terms', 'DE-BY'), 'false not_given opt_in', 'a subdivision is of its country');
SELECT is(create_event(gen_random_uuid(), id, '[{"id": "terms", "enabled": true}]', NULL, 'test') ->> 'outcome', 'created') FROM person;
SELECT is(put_consent('terms', 'Terms', 'web', NULL, 'test', '{"requires_new_consent": true}') #>> '{consent,version}', '2');
SELECT is(pg_temp.answer('terms'), 'false superseded opt_in');
SELECT is(get_user(id) -> 'consents' @> '[{"id": "terms", "enabled": false, "reason": "superseded"}]', true) FROM person;
SELECT is(put_consent('terms', 'Terms', 'web', NULL, 'test', '{"requires_new_consent": true}') ->> 'outcome', 'unchanged');
SELECT throws_ok($$INSERT INTO consent_version (consent_key, version, description, channel, model, source_key)
  SELECT consent_key, 3, 'x', 'web', 'opt_out', source_key('test') FROM consent WHERE id = 'terms'$$, '23514', NULL,
  'consent is not a basis of opt_out');

-- Values: kinds beyond yes and no.
SELECT is(put_consent('topics', 'Topics', 'web', NULL, 'test', '{"multiple": true, "values": [{"id": "arts", "description": "x"}, {"id": "news", "description": "x"}]}')
  ->> 'outcome', 'created');
CREATE FUNCTION pg_temp.choose(number integer, value jsonb, enabled boolean DEFAULT true) RETURNS jsonb LANGUAGE sql AS $$
  SELECT create_event(('50000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, person.id, jsonb_build_array(
    jsonb_strip_nulls(jsonb_build_object('id', 'topics', 'enabled', enabled, 'value', value))
  ), NULL, 'test') FROM person
$$;
SELECT is(pg_temp.choose(1, '["arts", "news"]') #> '{event,consents,0,value}', '["arts", "news"]');
SELECT is(pg_temp.choose(1, '["arts", "news"]') ->> 'outcome', 'repeated');
SELECT is(pg_temp.choose(1, '["arts"]') ->> 'outcome', 'conflict');
SELECT is(pg_temp.choose(1, NULL) ->> 'outcome', 'conflict');
SELECT is(pg_temp.choose(2, '["arts", "golf"]'),
  '{"outcome": "unknown_value", "index": 0, "allowed": ["arts", "news"], "multiple": true}');
SELECT is(pg_temp.choose(2, '"arts"') ->> 'outcome', 'unknown_value');
SELECT is(value, '["arts", "news"]') FROM current_choice JOIN consent USING (consent_key)
  JOIN subject AS s USING (subject_key) JOIN person ON person.id = s.id WHERE consent.id = 'topics';
SELECT is(pg_temp.choose(3, NULL, false) ->> 'outcome', 'created');
SELECT is(get_user(id) -> 'consents' @> '[{"id": "topics", "enabled": false}]', true) FROM person;
SELECT is((SELECT count(*) FROM (
  SELECT c.* FROM current_choice AS c WHERE c.subject_key = s.subject_key EXCEPT SELECT * FROM replay(s.subject_key)
) AS d), 0::bigint, 'a replay has the values') FROM subject AS s JOIN person USING (id);
SELECT is(max(length(chosen)), 0, 'an event without a value keeps none') FROM event WHERE id = '50000000-0000-4000-8000-000000000003';

SELECT * FROM finish();
ROLLBACK;
