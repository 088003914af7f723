-- Deploy pmp:define_signals to pg
BEGIN;
CREATE FUNCTION pmp.find_signalled(subject_key bigint, signals text[]) RETURNS TABLE (id text, state text)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT k.id, CASE
      WHEN c.subject_key IS NULL THEN 'not_given'
      WHEN NOT c.enabled THEN 'denied'
      WHEN EXISTS (
        SELECT FROM event_context AS x
        WHERE x.subject_key = ANY (subject_keys(c.subject_key)) AND x.sequence = c.sequence AND x.context -> 'despite_signal' = 'true'
      ) THEN 'granted_despite_signal'
      ELSE 'granted'
    END
    FROM consent AS k
    CROSS JOIN LATERAL (
      SELECT v.opt_out_signals FROM consent_version AS v WHERE v.consent_key = k.consent_key
      ORDER BY v.version DESC LIMIT 1
    ) AS v
    LEFT JOIN current_choice AS c ON c.consent_key = k.consent_key AND c.subject_key = $1
    WHERE v.opt_out_signals ?| signals
    ORDER BY k.id;
END
$$;
COMMENT ON FUNCTION pmp.find_signalled IS
  'The consents whose newest version names one of the signals, and what the user has said: not_given, denied, granted, or '
  'granted_despite_signal: the event of the grant has despite_signal in its context.';

CREATE FUNCTION pmp.record_signal(
  event_id uuid, user_id uuid, kind text, value text, signals text[], denied_states text[], context jsonb, client text
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
  found jsonb;
  denied jsonb;
  answer jsonb := '{"outcome": "unchanged"}';
BEGIN
  FOR attempt IN 1..2 LOOP
    IF user_id IS NULL THEN
      SELECT * INTO person FROM subject AS s WHERE s.subject_key = subject_named(kind, value);
    ELSE
      person := find_subject(user_id);
    END IF;
    IF person.subject_key IS NULL THEN
      RETURN '{"outcome": "unknown_user"}';
    ELSIF person.erased_at IS NOT NULL THEN
      RETURN '{"outcome": "erased"}';
    END IF;
    SELECT
      coalesce(jsonb_agg(jsonb_build_object('id', f.id, 'state', f.state, 'denied', f.state = ANY (denied_states))), '[]'),
      jsonb_agg(jsonb_build_object('id', f.id, 'enabled', false)) FILTER (WHERE f.state = ANY (denied_states))
    INTO found, denied
    FROM find_signalled(person.subject_key, signals) AS f;
    -- Most signals repeat what is known: they lock nothing.
    EXIT WHEN denied IS NULL OR attempt = 2;
    -- Of two signals at once, the second one finds the denial of the first.
    PERFORM take_turn(person.subject_key);
    PERFORM FROM subject AS s WHERE s.subject_key = person.subject_key FOR NO KEY UPDATE;
  END LOOP;
  IF denied IS NOT NULL THEN
    answer := create_event(event_id, person.id, denied, NULL, client, true, context);
  ELSIF EXISTS (SELECT FROM event AS e WHERE e.id = event_id AND e.subject_key = ANY (subject_keys(person.subject_key))) THEN
    -- Recorded by the first attempt, whose answer was lost.
    answer := jsonb_build_object('outcome', 'created', 'event', get_event(event_id));
  END IF;
  RETURN answer || jsonb_build_object('consents', found, 'user_id', person.id);
END
$$;
COMMENT ON FUNCTION pmp.record_signal IS
  'Deny what the signals deny for the user with an id or an identifier (see subject_named), as one event with the context: those consents that name one of the signals and are in one '
  'of denied_states, see find_signalled. {"outcome": "created", "event", "consents", "user_id"}; {"outcome": "unchanged", '
  '…}: no event; consents: [{"id", "state" before, "denied"}]. unknown_user; erased; otherwise as create_event.';
GRANT EXECUTE ON FUNCTION pmp.record_signal TO pmp_app;
COMMIT;
