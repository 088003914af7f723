-- Deploy pmp:define_me to pg
--
-- What a user does with a token of their own (docs/adr/0111).
BEGIN;
CREATE FUNCTION pmp.get_me(user_id uuid, consent_ids text[] DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject := find_subject(user_id);
BEGIN
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"erased": true}';
  END IF;
  RETURN jsonb_build_object('id', person.id, 'email', person.email, 'consents', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'id', k.id, 'version', newest.version, 'description', newest.description, 'channel', newest.channel,
      'translations', newest.translations,
      'enabled', state.is_given, 'since', instant(c.counts_at), 'answered_version', answered.version,
      'expires_at', instant(expiry(c.enabled, c.counts_at, answered.expires_after_days)),
      'pending', NOT state.is_given AND is_pending(person.subject_key, k.consent_key)
    ) ORDER BY k.consent_key), '[]')
    FROM consent AS k
    CROSS JOIN LATERAL (
      SELECT v.* FROM consent_version AS v WHERE v.consent_key = k.consent_key ORDER BY v.version DESC LIMIT 1
    ) AS newest
    LEFT JOIN current_choice AS c ON c.consent_key = k.consent_key AND c.subject_key = person.subject_key
    LEFT JOIN consent_version AS answered ON answered.version_key = c.version_key
    CROSS JOIN LATERAL (
      SELECT c.enabled IS TRUE AND lapsed(
        c.enabled, c.counts_at, answered.expires_after_days, answered.superseded_at, now()
      ) IS NULL AS is_given
    ) AS state
    WHERE (consent_ids IS NULL OR k.id = ANY (consent_ids)) AND (k.retired_at IS NULL OR state.is_given)
  ));
END
$$;
COMMENT ON FUNCTION pmp.get_me IS
  'A user and the consents in use or granted, or those of them that are named: {"id", "email", "consents": [{"id", '
  '"version", "description", "channel", "translations": of the newest version, "enabled", "since", "answered_version", '
  '"expires_at": of the choice in effect, null without one, "pending": whether it waits for a confirmation}]}; '
  '{"erased": true}; NULL: unknown user.';

CREATE FUNCTION pmp.examine_token(user_id uuid, consent_ids text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject := find_subject(user_id);
  unknown integer;
BEGIN
  IF person.subject_key IS NULL THEN
    RETURN '{"outcome": "unknown_user"}';
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"outcome": "erased"}';
  END IF;
  SELECT min(asked.place) - 1 INTO unknown FROM unnest(consent_ids) WITH ORDINALITY AS asked (id, place)
  WHERE NOT EXISTS (SELECT FROM consent AS k WHERE k.id = asked.id);
  RETURN CASE
    WHEN unknown IS NULL THEN '{"outcome": "valid"}'
    ELSE jsonb_build_object('outcome', 'unknown_consent', 'index', unknown)
  END;
END
$$;
COMMENT ON FUNCTION pmp.examine_token IS
  'Whether a token can be made: {"outcome": "valid" | "unknown_user" | "erased"}; {"outcome": "unknown_consent", "index"}: '
  'zero-based position in consent_ids.';

CREATE FUNCTION pmp.ask_confirmation(
  confirmation_id uuid, user_id uuid, consent_ids text[], expires_at timestamptz, client text, context jsonb, most integer
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  answer jsonb;
  -- Requests for one user take turns, and an erasure sees them.
  person bigint := (lock_subject(user_id)).subject_key;
BEGIN
  answer := examine_token(user_id, consent_ids);
  IF answer ->> 'outcome' <> 'valid' THEN
    RETURN answer;
  END IF;
  INSERT INTO confirmation (id, subject_key, versions, source_key, context, asked_at, expires_at)
  SELECT confirmation_id, person, array_agg((
    SELECT v.version_key FROM consent AS k JOIN consent_version AS v USING (consent_key)
    WHERE k.id = asked.id ORDER BY v.version DESC LIMIT 1
  ) ORDER BY asked.place), source_key(client), $6, clock_timestamp(), $4
  FROM unnest(consent_ids) WITH ORDINALITY AS asked (id, place)
  ON CONFLICT ON CONSTRAINT confirmation_pkey DO NOTHING;
  -- Anybody can fill in a form with the address of somebody else.
  DELETE FROM confirmation AS f WHERE f.id IN (
    SELECT o.id FROM confirmation AS o WHERE o.subject_key = person ORDER BY o.asked_at DESC OFFSET most
  );
  RETURN answer;
END
$$;
COMMENT ON FUNCTION pmp.ask_confirmation IS
  'Store grants that the user has to confirm, in the wording now in force; answers as examine_token. Of each user, the '
  'newest "most" are kept. A repetition changes nothing.';

CREATE FUNCTION pmp.confirm(confirmation_id uuid, user_id uuid) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject := lock_subject(user_id);
  asked confirmation;
  grants jsonb;
  answer jsonb;
  denied jsonb;
BEGIN
  IF person.subject_key IS NULL THEN
    RETURN '{"outcome": "unknown_user"}';
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN '{"outcome": "erased"}';
  END IF;
  SELECT * INTO asked FROM confirmation AS f WHERE f.id = confirmation_id AND f.subject_key = person.subject_key;
  IF asked.id IS NULL THEN
    RETURN '{"outcome": "ended"}';
  END IF;
  IF asked.confirmed_at IS NULL THEN
    SELECT
      jsonb_agg(jsonb_build_object('id', k.id, 'version', v.version, 'enabled', true) ORDER BY g.place)
        FILTER (WHERE c.subject_key IS NULL AND k.retired_at IS NULL)
    INTO grants
    FROM unnest(asked.versions) WITH ORDINALITY AS g (version_key, place)
    JOIN consent_version AS v USING (version_key)
    JOIN consent AS k USING (consent_key)
    LEFT JOIN current_choice AS c ON c.consent_key = k.consent_key AND c.subject_key = person.subject_key
      AND NOT c.enabled AND c.counts_at >= asked.asked_at;
    asked.confirmed_at := clock_timestamp();
    IF grants IS NOT NULL THEN
      answer := create_event(
        asked.id, user_id, grants, NULL, source_name(asked.source_key), true,
        coalesce(asked.context, '{}') || jsonb_build_object(
          'actor', 'user', 'purpose', 'confirm', 'asked_at', instant(asked.asked_at),
          'confirmed_at', instant(asked.confirmed_at)
        )
      );
      IF answer ->> 'outcome' <> 'created' THEN
        RAISE EXCEPTION 'confirmation % was not recorded: %', asked.id, answer;
      END IF;
    END IF;
    UPDATE confirmation AS f SET confirmed_at = asked.confirmed_at WHERE f.id = asked.id;
  END IF;
  -- A repetition finds the same: what was not recorded had been denied or retired.
  SELECT jsonb_agg(k.id ORDER BY g.place) INTO denied
  FROM unnest(asked.versions) WITH ORDINALITY AS g (version_key, place)
  JOIN consent_version AS v USING (version_key)
  JOIN consent AS k USING (consent_key)
  WHERE NOT EXISTS (SELECT FROM event AS e WHERE e.id = asked.id AND g.version_key = ANY (e.versions));
  RETURN jsonb_build_object(
    'outcome', 'confirmed', 'confirmed_at', instant(asked.confirmed_at), 'event', get_event(asked.id),
    'denied', coalesce(denied, '[]')
  );
END
$$;
COMMENT ON FUNCTION pmp.confirm IS
  'The user confirms what they were asked for: {"outcome": "confirmed", "confirmed_at", "event": null if nothing was left '
  'to grant, "denied": ids of the consents that the user has denied since they were asked, or that were retired}; a repetition returns the same. '
  '{"outcome": "unknown_user" | "erased" | "ended"}: expired, or newer requests took its place.';

CREATE FUNCTION pmp.unsubscribe(event_id uuid, user_id uuid, consent_ids text[], client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  denials jsonb;
  -- In create_event the user is locked; here, so that one of two requests at once finds nothing left to deny.
  person subject := lock_subject(user_id);
BEGIN
  SELECT jsonb_agg(jsonb_build_object('id', k.id, 'enabled', false) ORDER BY k.consent_key) INTO denials
  FROM consent AS k
  WHERE k.id = ANY (consent_ids) AND NOT EXISTS (
    SELECT FROM current_choice AS c
    WHERE c.consent_key = k.consent_key AND c.subject_key = person.subject_key AND NOT c.enabled
      AND NOT is_pending(c.subject_key, c.consent_key)
  );
  IF denials IS NULL THEN
    RETURN jsonb_build_object('outcome', CASE
      WHEN person.subject_key IS NOT NULL AND person.erased_at IS NULL THEN 'nothing'
      ELSE 'erased'
    END);
  END IF;
  RETURN create_event(event_id, user_id, denials, NULL, client, true, '{"actor": "user", "purpose": "unsubscribe"}');
END
$$;
COMMENT ON FUNCTION pmp.unsubscribe IS
  'Deny those of the consents that are in the catalogue and not denied yet, as create_event; {"outcome": "nothing"}: all '
  'of them are.';

GRANT EXECUTE ON FUNCTION pmp.get_me, pmp.examine_token, pmp.ask_confirmation, pmp.confirm, pmp.unsubscribe TO pmp_app;
COMMIT;
