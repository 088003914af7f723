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

SELECT * FROM finish();
ROLLBACK;
