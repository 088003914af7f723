-- Deploy pmp:define_events to pg
BEGIN;
CREATE FUNCTION pmp.overridden(e pmp.event) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  answer jsonb;
BEGIN
  SELECT jsonb_build_object('overridden', jsonb_agg(jsonb_build_object(
    'id', k.id, 'enabled', c.enabled, 'since', instant(c.counts_at),
    'reason', CASE
      WHEN c.counts_at > counts_at(e.occurred_at, e.received_at, e.has_fraction, choice.enabled) THEN 'later_choice'
      ELSE 'denial_at_same_instant'
    END
  ) ORDER BY choice.place)) INTO answer
  FROM unnest(e.versions, e.enabled) WITH ORDINALITY AS choice (version_key, enabled, place)
  JOIN consent_version AS v USING (version_key)
  JOIN consent AS k USING (consent_key)
  JOIN subject AS s ON s.subject_key = e.subject_key
  JOIN current_choice AS c ON c.consent_key = v.consent_key AND c.subject_key = coalesce(s.merged_into, s.subject_key)
  WHERE c.sequence <> e.sequence
  HAVING count(*) > 0;
  RETURN coalesce(answer, '{}');
END
$$;
COMMENT ON FUNCTION pmp.overridden IS
  'Which choices of an event change nothing, because another one counts: {"overridden": [{"id", "enabled", "since": what '
  'counts instead, "reason": "later_choice" | "denial_at_same_instant"}]}; {} if all of its choices count.';

CREATE FUNCTION pmp.create_event(
  event_id uuid, user_id uuid, choices jsonb, happened_at timestamptz, client text, has_fraction boolean DEFAULT true,
  context jsonb DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
  known event;
  keys integer[];
  answers boolean[];
  chosen text;
  unfit boolean[];
  retired boolean[];
  named integer[];
  too_new boolean[];
  place integer;
  received timestamptz;
  at timestamptz;
  written integer;
BEGIN
  -- Writers of the same user take turns: what waits here is received later than what it waits for, and an erasure
  -- either sees this event or is seen by it. Most find nobody before them.
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id AND s.merged_into IS NULL FOR NO KEY UPDATE SKIP LOCKED;
  WHILE person.subject_key IS NULL LOOP
    person := find_subject(user_id);
    IF person.subject_key IS NULL THEN
      RETURN '{"outcome": "unknown_user"}';
    END IF;
    PERFORM take_turn(person.subject_key);
    -- A merged user's row is not locked: nobody would then wait for it with the other one's.
    SELECT * INTO person FROM subject AS s
    WHERE s.subject_key = person.subject_key AND s.merged_into IS NULL FOR NO KEY UPDATE;
  END LOOP;
  IF person.erased_at IS NOT NULL THEN
    RETURN '{"outcome": "erased"}';
  END IF;

  received := clock_timestamp();
  -- Without a fraction of a second, an instant covers its second: a wording that appeared in it may have been shown.
  at := counts_at(coalesce(happened_at, received), received, has_fraction, false);

  -- The version that the client names; otherwise the one in force at that instant, or the first one if there was none.
  SELECT
    array_agg(v.version_key ORDER BY asked.place),
    array_agg((asked.choice ->> 'enabled')::boolean ORDER BY asked.place),
    array_agg(v.version_key) FILTER (WHERE asked.choice ->> 'version' IS NOT NULL),
    array_agg(asked.choice ->> 'version' IS NOT NULL AND v.created_at > at ORDER BY asked.place)
,
    CASE
      WHEN bool_or(asked.choice ? 'value') THEN array_agg(asked.choice -> 'value' ORDER BY asked.place)::text
      ELSE ''
    END,
    array_agg(
      asked.choice ? 'value' AND NOT fits(asked.choice -> 'value', v.allowed_values, v.multiple) ORDER BY asked.place
    ),
    array_agg(v.retired_at IS NOT NULL AND (asked.choice ->> 'enabled')::boolean ORDER BY asked.place)
  INTO keys, answers, named, too_new, chosen, unfit, retired
  FROM jsonb_array_elements(choices) WITH ORDINALITY AS asked (choice, place)
  LEFT JOIN LATERAL (
    SELECT v.version_key, v.created_at, v.allowed_values, v.multiple, k.retired_at
    FROM consent AS k JOIN consent_version AS v USING (consent_key)
    WHERE k.id = asked.choice ->> 'id' AND v.version = coalesce((asked.choice ->> 'version')::integer, v.version)
    ORDER BY v.created_at <= at DESC, CASE WHEN v.created_at <= at THEN -v.version ELSE v.version END LIMIT 1
  ) AS v ON true;
  place := array_position(keys, NULL) - 1;
  IF place IS NOT NULL THEN
    RETURN jsonb_build_object('index', place, 'outcome', CASE
      WHEN EXISTS (SELECT FROM consent AS k WHERE k.id = choices -> place ->> 'id') THEN 'unknown_version'
      ELSE 'unknown_consent'
    END);
  END IF;
  IF happened_at > received + interval '5 minutes' THEN
    RETURN '{"outcome": "in_future"}';
  END IF;
  place := array_position(too_new, true) - 1;
  -- Without an instant the client answers what it has just read, whatever this server's clock says.
  IF place IS NOT NULL AND happened_at IS NOT NULL THEN
    RETURN jsonb_build_object('index', place, 'outcome', 'version_too_new', 'created_at', (
      SELECT instant(v.created_at) FROM consent_version AS v WHERE v.version_key = keys[place + 1]
    ));
  END IF;

  place := array_position(retired, true) - 1;
  -- A known event is repeated, even if the catalogue has changed since.
  IF place IS NOT NULL AND NOT EXISTS (SELECT FROM event AS e WHERE e.id = event_id) THEN
    RETURN (
      SELECT jsonb_build_object('index', place, 'outcome', 'retired', 'retired_at', instant(k.retired_at))
      FROM consent AS k WHERE k.id = choices -> place ->> 'id'
    );
  END IF;
  place := array_position(unfit, true) - 1;
  IF place IS NOT NULL AND NOT EXISTS (SELECT FROM event AS e WHERE e.id = event_id) THEN
    RETURN (
      SELECT jsonb_build_object('index', place, 'outcome', 'unknown_value', 'multiple', v.multiple, 'allowed', coalesce(
        jsonb_path_query_array(v.allowed_values, '$[*].id'), '[]'
      ))
      FROM consent_version AS v WHERE v.version_key = keys[place + 1]
    );
  END IF;

  -- A clock that was set back, or that of a server that took over, must not put a new choice before a known one.
  received := greatest(received, (
    SELECT max(c.counts_at) + interval '1 microsecond'
    FROM consent AS k JOIN current_choice AS c USING (consent_key)
    WHERE c.subject_key = person.subject_key
  ));

  INSERT INTO event (
    id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, has_context, versions, enabled,
    chosen
  )
  SELECT
    event_id, person.subject_key, coalesce(happened_at, received), received, source_key(client),
    happened_at IS NOT NULL, happened_at IS NULL OR has_fraction, context IS NOT NULL, keys, answers,
    chosen
  WHERE NOT EXISTS (SELECT FROM removed_event AS r WHERE r.id = event_id)
  ON CONFLICT (id) DO NOTHING
  RETURNING * INTO known;

  IF known.id IS NULL THEN
    SELECT * INTO known FROM event AS e WHERE e.id = event_id;
    IF known.id IS NULL THEN
      RETURN '{"outcome": "removed"}';
    END IF;
    RETURN CASE
      WHEN known.subject_key = ANY (subject_keys(person.subject_key))
        AND is_same_event(known, known.subject_key, happened_at, keys, answers, chosen, named)
        AND describe_context(known.subject_key, known.sequence) =
          CASE WHEN context IS NULL THEN '{}' ELSE jsonb_build_object('context', context) END
      THEN jsonb_build_object('outcome', 'repeated', 'event', get_event(event_id) || overridden(known))
      ELSE '{"outcome": "conflict"}'
    END;
  END IF;

  -- The insertion may have waited for the end of an event with this id, of a user who is not locked here.
  IF EXISTS (SELECT FROM removed_event AS r WHERE r.id = event_id) THEN
    RAISE serialization_failure USING MESSAGE = 'an event with this id has left meanwhile';
  END IF;

  IF context IS NOT NULL THEN
    INSERT INTO event_context VALUES (known.subject_key, known.sequence, context);
  END IF;

  INSERT INTO current_choice AS c (subject_key, consent_key, version_key, counts_at, sequence, enabled, value)
  SELECT
    known.subject_key, v.consent_key, v.version_key,
    counts_at(known.occurred_at, known.received_at, known.has_fraction, choice.enabled), known.sequence, choice.enabled,
    choice.value
  FROM unnest(keys, answers, chosen_values(chosen)) AS choice (version_key, enabled, value)
  JOIN consent_version AS v USING (version_key)
  ORDER BY v.consent_key
  ON CONFLICT (consent_key, subject_key) DO UPDATE
  SET version_key = excluded.version_key, counts_at = excluded.counts_at,
      sequence = excluded.sequence, enabled = excluded.enabled, value = excluded.value
  WHERE (excluded.counts_at, NOT excluded.enabled, excluded.sequence) > (c.counts_at, NOT c.enabled, c.sequence);

  GET DIAGNOSTICS written = ROW_COUNT;
  RETURN jsonb_build_object('outcome', 'created', 'event', CASE
    WHEN written = cardinality(keys) THEN get_event(event_id)
    ELSE get_event(event_id) || overridden(known)
  END);
END
$$;
COMMENT ON FUNCTION pmp.create_event IS
  'Record an event; choices: [{"id", "enabled", "version"?, "value"?}], each consent once; happened_at NULL: now; has_fraction: '
  'whether happened_at was told with a fraction of a second; context: see event_context. '
  '{"outcome": "created", "event"}; {"outcome": "repeated", "event"}: same id and content, returns the stored event; '
  '{"outcome": "conflict"}: same id, other content; removed: the event with this id has left (see removed_event); unknown_user; erased; in_future (more than five minutes ahead); '
  '{"outcome": "unknown_consent" | "unknown_version", "index"}: zero-based position in choices; {"outcome": '
  '"version_too_new", "index", "created_at"}: the named version was created later than happened_at; {"outcome": '
  '"unknown_value", "index", "allowed", "multiple"}: the version does not take the value; {"outcome": "retired", "index", "retired_at"}: a grant of a '
  'retired consent, which can still be denied. The event also has '
  'what overridden() returns.';

CREATE FUNCTION pmp.create_event_by_address(
  event_id uuid, address text, address_hash bytea, is_upsert boolean, choices jsonb, happened_at timestamptz, client text,
  has_fraction boolean, context jsonb DEFAULT NULL, identifiers jsonb DEFAULT '{}'
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
  answer jsonb;
  taken text;
BEGIN
  LOOP
    -- Locked, so that nobody else gets the address before the event is recorded.
    PERFORM take_turn(s.subject_key) FROM subject AS s
    WHERE s.email_key = fold_email(address) AND s.merged_into IS NULL;
    SELECT * INTO person FROM subject AS s
    WHERE s.email_key = fold_email(address) AND s.merged_into IS NULL FOR NO KEY UPDATE;
    IF person.subject_key IS NULL THEN
      -- Not locked: see create_event.
      SELECT * INTO person FROM subject AS s
      WHERE s.email_key = fold_email(address) AND s.merged_into IS NOT NULL;
    END IF;
    IF person.subject_key IS NOT NULL THEN
      RETURN CASE
        WHEN happened_at <= (SELECT max(e.erased_at) FROM erasure AS e WHERE e.address_hash = $3)
          THEN '{"outcome": "erased_since"}'
        ELSE create_event(event_id, person.id, choices, happened_at, client, has_fraction, context)
      END;
    END IF;

    -- Nobody has the address. Whoever sent this event before may have been erased since.
    SELECT s.* INTO person FROM event AS e JOIN subject AS s USING (subject_key) WHERE e.id = event_id;
    IF person.subject_key IS NOT NULL THEN
      RETURN CASE WHEN person.erased_at IS NULL THEN '{"outcome": "conflict"}' ELSE '{"outcome": "erased"}' END;
    ELSIF NOT is_upsert THEN
      RETURN '{"outcome": "unknown_user"}';
    END IF;

    BEGIN
      INSERT INTO subject (id, email, created_by) VALUES (gen_random_uuid(), address, source_key(client))
      ON CONFLICT (email_key) DO NOTHING
      RETURNING * INTO person;
      IF person.subject_key IS NOT NULL THEN
        taken := set_identifiers(person.subject_key, identifiers, client);
        -- A new statement, which sees every erasure of those who had the address before.
        answer := CASE
          WHEN taken IS NOT NULL THEN jsonb_build_object('outcome', 'taken', 'kind', taken)
          WHEN happened_at <= (SELECT max(e.erased_at) FROM erasure AS e WHERE e.address_hash = $3)
            THEN '{"outcome": "erased_since"}'
          ELSE create_event(event_id, person.id, choices, happened_at, client, has_fraction, context)
        END;
        IF answer ->> 'outcome' <> 'created' THEN
          RAISE EXCEPTION USING ERRCODE = 'PMP02';
        END IF;
        RETURN answer;
      END IF;
    EXCEPTION
      -- What adds no event makes no user.
      WHEN SQLSTATE 'PMP02' THEN
        RETURN answer;
    END;
    -- Somebody else registered the address since we looked for it.
  END LOOP;
END
$$;
COMMENT ON FUNCTION pmp.create_event_by_address IS
  'create_event for the user with an address; is_upsert: make the user if nobody has the address, with the identifiers '
  '{kind: value}. address_hash: as in erasure, needed where happened_at is told. Further outcomes: erased_since: a user '
  'with this address was erased after happened_at; {"outcome": "taken", "kind"}: another user has this identifier.';

CREATE FUNCTION pmp.create_event_by_identifier(
  event_id uuid, kind text, value text, identifier_hash bytea, choices jsonb, happened_at timestamptz, client text,
  has_fraction boolean, context jsonb DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  -- Locked, so that nobody else gets the identifier before the event is recorded.
  PERFORM take_turn(i.subject_key) FROM identifier AS i WHERE i.kind = $2 AND i.value = $3;
  SELECT s.* INTO person FROM identifier AS i JOIN subject AS s USING (subject_key)
  WHERE i.kind = $2 AND i.value = $3 AND s.merged_into IS NULL FOR NO KEY UPDATE;
  IF person.subject_key IS NULL THEN
    SELECT s.* INTO person FROM identifier AS i JOIN subject AS s USING (subject_key)
    WHERE i.kind = $2 AND i.value = $3 AND s.merged_into IS NOT NULL;
  END IF;
  IF person.subject_key IS NULL THEN
    -- Whoever sent this event before may have been erased since.
    SELECT s.* INTO person FROM event AS e JOIN subject AS s USING (subject_key) WHERE e.id = event_id;
    RETURN jsonb_build_object('outcome', CASE
      WHEN person.subject_key IS NULL THEN 'unknown_user' WHEN person.erased_at IS NULL THEN 'conflict' ELSE 'erased'
    END);
  END IF;
  RETURN CASE
    WHEN happened_at <= (SELECT max(e.erased_at) FROM erasure AS e WHERE e.address_hash = identifier_hash)
      THEN '{"outcome": "erased_since"}'
    ELSE create_event(event_id, person.id, choices, happened_at, client, has_fraction, context)
  END;
END
$$;
COMMENT ON FUNCTION pmp.create_event_by_identifier IS
  'create_event for the user with an identifier; the further arguments and outcomes are those of create_event_by_address.';

CREATE FUNCTION pmp.create_events(events jsonb, client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  answers jsonb[];
  item record;
BEGIN
  -- In one order of users, because each one's row stays locked: two batches would otherwise wait for each other.
  FOR item IN
    SELECT e.*
    FROM ROWS FROM (
      jsonb_to_recordset(events) AS (
        id uuid, user_id uuid, email text, address_hash text, is_upsert boolean, choices jsonb, happened_at timestamptz,
        has_fraction boolean, context jsonb, identifiers jsonb, kind text, value text
      )
    ) WITH ORDINALITY AS e (
      id, user_id, email, address_hash, is_upsert, choices, happened_at, has_fraction, context, identifiers, kind, value,
      place
    )
    LEFT JOIN subject AS by_id ON by_id.id = e.user_id
    LEFT JOIN subject AS by_email ON by_email.email_key = fold_email(e.email)
    LEFT JOIN identifier AS i ON i.kind = e.kind AND i.value = e.value
    LEFT JOIN subject AS by_other ON by_other.subject_key = i.subject_key
    CROSS JOIN LATERAL (
      SELECT coalesce(
        by_id.merged_into, by_id.subject_key, by_email.merged_into, by_email.subject_key, by_other.merged_into,
        by_other.subject_key
      ) AS subject_key
    ) AS known
    ORDER BY known.subject_key, CASE WHEN known.subject_key IS NULL THEN fold_email(e.email) END, e.place
  LOOP
    answers[item.place] := CASE
      WHEN item.user_id IS NOT NULL THEN create_event(
        item.id, item.user_id, item.choices, item.happened_at, client, item.has_fraction, item.context
      )
      WHEN item.kind IS NOT NULL THEN create_event_by_identifier(
        item.id, item.kind, item.value, decode(item.address_hash, 'hex'), item.choices, item.happened_at, client,
        item.has_fraction, item.context
      )
      ELSE create_event_by_address(
        item.id, item.email, decode(item.address_hash, 'hex'), item.is_upsert, item.choices, item.happened_at, client,
        item.has_fraction, item.context, item.identifiers
      )
    END;
  END LOOP;
  RETURN to_jsonb(coalesce(answers, '{}'));
END
$$;
COMMENT ON FUNCTION pmp.create_events IS
  'create_event or one of the two above for each of [{"id", "user_id", "email" or "kind" and "value", "address_hash", '
  '"is_upsert", "choices", "happened_at", "has_fraction", "context", "identifiers"}]: their results in the same order. An event that is refused does not stop '
  'the others. Events of one user are recorded in their order.';
GRANT EXECUTE ON FUNCTION pmp.create_event, pmp.create_event_by_address, pmp.create_event_by_identifier, pmp.create_events TO pmp_app;
COMMIT;
