-- Deploy pmp:define_deliveries to pg
--
-- How an invocation takes lanes, reads their next message and records what became of it (docs/adr/0225).
BEGIN;
CREATE FUNCTION pmp.current_place() RETURNS TABLE (number bigint, sequence bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  -- Sets a new base after a restore, which the horizon needs.
  PERFORM transaction_number();
  RETURN QUERY SELECT feed_horizon(), 0::bigint;
END
$$;
COMMENT ON FUNCTION pmp.current_place IS
  'The place in the feed after which comes what nobody could have read yet. Sequences begin at 1.';

CREATE FUNCTION pmp.is_prompt(enabled boolean[], source_key integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN false = ANY (enabled) OR EXISTS (SELECT FROM source AS s WHERE s.source_key = $2 AND s.client IS NOT NULL);
END
$$;
COMMENT ON FUNCTION pmp.is_prompt IS
  'Whether an event belongs to the lane prompt: it denies something, or did not come from an import.';

CREATE FUNCTION pmp.claim_lanes(owner uuid, seconds integer, most integer) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  horizon bigint := feed_horizon();
  events record;
  notices record;
  claimed jsonb;
BEGIN
  SELECT e.transaction_number AS number, e.sequence INTO events FROM event AS e WHERE e.transaction_number < horizon
  ORDER BY e.transaction_number DESC, e.sequence DESC LIMIT 1;
  SELECT n.transaction_number AS number, n.sequence INTO notices FROM notice AS n WHERE n.transaction_number < horizon
  ORDER BY n.transaction_number DESC, n.sequence DESC LIMIT 1;
  WITH due AS (
    SELECT l.subscription_key, l.lane
    FROM delivery_lane AS l JOIN subscription AS s USING (subscription_key)
    WHERE s.is_enabled AND l.next_attempt_at <= clock_timestamp()
      AND (l.lease_until IS NULL OR l.lease_until < clock_timestamp())
      AND (l.number, l.sequence) < CASE l.lane
        WHEN 'notices' THEN (notices.number, notices.sequence) ELSE (events.number, events.sequence)
      END
    ORDER BY l.lane = 'bulk', l.next_attempt_at LIMIT most FOR NO KEY UPDATE OF l SKIP LOCKED
  ), taken AS (
    UPDATE delivery_lane AS l
    SET lease_owner = $1, lease_until = clock_timestamp() + seconds * interval '1 second'
    FROM due AS d WHERE l.subscription_key = d.subscription_key AND l.lane = d.lane
    RETURNING l.subscription_key, l.lane
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object(
    'key', s.subscription_key, 'lane', t.lane, 'id', s.id, 'url', s.url, 'secret', s.secret_number,
    'previous', s.secret_number > 1 AND s.previous_until > now()
  )), '[]') INTO claimed
  FROM taken AS t JOIN subscription AS s USING (subscription_key);
  RETURN jsonb_build_object(
    'lanes', claimed, 'expected', EXISTS (SELECT FROM subscription AS s WHERE s.is_enabled)
  );
END
$$;
COMMENT ON FUNCTION pmp.claim_lanes IS
  'Take the leases of up to "most" lanes that may have something to tell, for some seconds; bulk ones last. {"lanes": [{"key", '
  '"lane", "id", "url", "secret": number of the secret, "previous": whether the one before is valid too}], "expected": '
  'whether there is any receiver}.';

CREATE FUNCTION pmp.told_events(
  after_number bigint, after_sequence bigint, until_number bigint, until_sequence bigint, prompt boolean, filter text[],
  most integer
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  at timestamptz := clock_timestamp();
  wanted integer[] := ARRAY(
    SELECT v.version_key FROM consent AS k JOIN consent_version AS v USING (consent_key) WHERE k.id = ANY (filter)
  );
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'id', r.id, 'type', 'event.recorded', 'subject', r.user_id, 'time', instant(r.received_at),
      'data', describe_event(r) - 'context' || jsonb_build_object(
        'consents', (
          SELECT jsonb_agg(c.choice ORDER BY c.place)
          FROM jsonb_array_elements(r.consents) WITH ORDINALITY AS c (choice, place)
          WHERE filter IS NULL OR c.choice ->> 'id' = ANY (filter)
        ),
        'state', CASE WHEN u.erased_at IS NULL THEN (
          SELECT coalesce(jsonb_agg(
            describe_choice(
              k.id, c.enabled, c.value, lapsed(c.enabled, c.counts_at, v.expires_after_days, v.superseded_at, at)
            ) || jsonb_build_object('since', instant(c.counts_at)) ORDER BY k.consent_key
          ), '[]')
          FROM consent AS k
          JOIN current_choice AS c USING (consent_key)
          JOIN consent_version AS v USING (version_key)
          WHERE c.subject_key = r.owner_key AND (filter IS NULL OR k.id = ANY (filter)) AND k.consent_key = ANY (ARRAY(
            SELECT answered.consent_key FROM consent_version AS answered WHERE answered.version_key = ANY (e.versions)
          ))
        ) END,
        'state_at', instant(at)
      ),
      'place', jsonb_build_array(e.transaction_number, e.sequence)
    ) ORDER BY e.transaction_number, e.sequence), '[]')
    FROM (
      SELECT * FROM event AS e
      WHERE (e.transaction_number, e.sequence) > (after_number, after_sequence)
        AND (e.transaction_number, e.sequence) <= (until_number, until_sequence)
        AND is_prompt(e.enabled, e.source_key) = prompt AND (filter IS NULL OR e.versions && wanted)
      ORDER BY e.transaction_number, e.sequence LIMIT most
    ) AS e
    JOIN event_record AS r ON r.transaction_number = e.transaction_number AND r.sequence = e.sequence
    JOIN subject AS u ON u.subject_key = e.subject_key
  );
END
$$;
COMMENT ON FUNCTION pmp.told_events IS
  'What a receiver is told of the events after one place and up to another, the first "most" (NULL: all): [{"id", "type", '
  '"subject", "time", "data", "place"}]. Data is an event without its context, the choices that the receiver asked for, '
  '"state": what counts now for these consents of the user (null: erased), read at "state_at".';

CREATE FUNCTION pmp.told_notices(
  after_number bigint, after_sequence bigint, until_number bigint, until_sequence bigint, most integer
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'id', n.id, 'type', n.type, 'subject', n.subject_id, 'time', instant(n.created_at), 'data', n.document,
      'place', jsonb_build_array(n.transaction_number, n.sequence)
    ) ORDER BY n.transaction_number, n.sequence), '[]')
    FROM (
      SELECT * FROM notice AS n
      WHERE (n.transaction_number, n.sequence) > (after_number, after_sequence)
        AND (n.transaction_number, n.sequence) <= (until_number, until_sequence)
      ORDER BY n.transaction_number, n.sequence LIMIT most
    ) AS n
  );
END
$$;
COMMENT ON FUNCTION pmp.told_notices IS 'As told_events, of notices.';

CREATE FUNCTION pmp.begin_delivery(
  key integer, lane text, owner uuid, seconds integer, most integer, span integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  horizon bigint := feed_horizon();
  l delivery_lane;
  filter text[];
  until record;
  items jsonb;
BEGIN
  UPDATE delivery_lane AS d SET lease_until = clock_timestamp() + seconds * interval '1 second'
  WHERE d.subscription_key = key AND d.lane = $2 AND d.lease_owner = owner
  RETURNING * INTO l;
  SELECT s.consents INTO filter FROM subscription AS s WHERE s.subscription_key = l.subscription_key AND s.is_enabled;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;

  -- A message that was not acknowledged goes up to the same place as before.
  IF l.pending_id IS NOT NULL THEN
    SELECT l.pending_number AS number, l.pending_sequence AS sequence INTO until;
  ELSIF $2 = 'notices' THEN
    SELECT n.transaction_number AS number, n.sequence INTO until FROM (
      SELECT n.transaction_number, n.sequence FROM notice AS n
      WHERE (n.transaction_number, n.sequence) > (l.number, l.sequence) AND n.transaction_number < horizon
      ORDER BY n.transaction_number, n.sequence LIMIT span
    ) AS n ORDER BY n.transaction_number DESC, n.sequence DESC LIMIT 1;
  ELSE
    SELECT e.transaction_number AS number, e.sequence INTO until FROM (
      SELECT e.transaction_number, e.sequence FROM event AS e
      WHERE (e.transaction_number, e.sequence) > (l.number, l.sequence) AND e.transaction_number < horizon
      ORDER BY e.transaction_number, e.sequence LIMIT span
    ) AS e ORDER BY e.transaction_number DESC, e.sequence DESC LIMIT 1;
  END IF;
  IF until.number IS NULL THEN
    UPDATE delivery_lane AS d SET lease_owner = NULL, lease_until = NULL
    WHERE d.subscription_key = key AND d.lane = $2;
    RETURN '{"items": [], "more": false}';
  END IF;

  items := CASE WHEN $2 = 'notices'
    THEN told_notices(l.number, l.sequence, until.number, until.sequence, CASE WHEN l.pending_id IS NULL THEN most END)
    ELSE told_events(
      l.number, l.sequence, until.number, until.sequence, $2 = 'prompt', filter, CASE WHEN l.pending_id IS NULL THEN most END
    )
  END;
  IF jsonb_array_length(items) = 0 THEN
    UPDATE delivery_lane AS d
    SET number = until.number, sequence = until.sequence, pending_id = NULL, pending_number = NULL, pending_sequence = NULL
    WHERE d.subscription_key = key AND d.lane = $2;
    RETURN '{"items": [], "more": true}';
  ELSIF l.pending_id IS NULL THEN
    l.pending_id := gen_random_uuid();
    IF jsonb_array_length(items) = most THEN
      SELECT (items #>> '{-1,place,0}')::bigint AS number, (items #>> '{-1,place,1}')::bigint AS sequence INTO until;
    END IF;
    UPDATE delivery_lane AS d
    SET pending_id = l.pending_id, pending_number = until.number, pending_sequence = until.sequence
    WHERE d.subscription_key = key AND d.lane = $2;
  END IF;
  RETURN jsonb_build_object('id', l.pending_id, 'items', items, 'more', true);
END
$$;
COMMENT ON FUNCTION pmp.begin_delivery IS
  'The next message of a lane: {"id", "items": as told_events, "more"}, with up to "most" changes that are found among the '
  'next "span" in the feed. Without items, "more" says whether to go on; if not, the lease has ended. NULL: the lease is '
  'not the owner''s, or the subscription is disabled.';

CREATE FUNCTION pmp.end_delivery(key integer, lane text, owner uuid, sent uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  l delivery_lane;
BEGIN
  SELECT * INTO l FROM delivery_lane AS d
  WHERE d.subscription_key = key AND d.lane = $2 AND d.lease_owner = owner AND d.pending_id = sent FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO delivery VALUES (
    key, $2, l.pass, l.pending_number, l.pending_sequence, l.number, l.sequence, clock_timestamp()
  );
  UPDATE delivery_lane AS d SET
    number = l.pending_number, sequence = l.pending_sequence, pending_id = NULL, pending_number = NULL,
    pending_sequence = NULL, failures = 0, failing_since = NULL, last_error = NULL, acknowledged_at = clock_timestamp()
  WHERE d.subscription_key = key AND d.lane = $2;
  RETURN true;
END
$$;
COMMENT ON FUNCTION pmp.end_delivery IS
  'Record that the pending message was acknowledged. The lease stays. false: it is not the owner''s any more.';

CREATE FUNCTION pmp.postpone_delivery(key integer, lane text, owner uuid, reason text, seconds double precision) RETURNS boolean
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  UPDATE delivery_lane AS d SET
    failures = failures + 1, failing_since = coalesce(failing_since, clock_timestamp()), last_error = reason,
    next_attempt_at = clock_timestamp() + seconds * interval '1 second', lease_owner = NULL, lease_until = NULL
  WHERE d.subscription_key = key AND d.lane = $2 AND d.lease_owner = owner;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION pmp.postpone_delivery IS 'Record a failed attempt, end the lease, and set the next attempt.';

CREATE FUNCTION pmp.told_of(number bigint, sequence bigint, lane text, versions integer[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'subscription', s.id, 'url', s.url, 'acknowledged_at', instant(d.acknowledged_at)
    ) ORDER BY d.acknowledged_at, s.subscription_key), '[]')
    FROM subscription AS s
    JOIN delivery_lane AS l ON l.subscription_key = s.subscription_key AND l.lane = $3
    CROSS JOIN generate_series(1, l.pass) AS p (pass)
    CROSS JOIN LATERAL (
      -- Messages of one pass do not overlap: the first that ends here or later is the only one that can hold it.
      SELECT d.after_number, d.after_sequence, d.acknowledged_at FROM delivery AS d
      WHERE d.subscription_key = s.subscription_key AND d.lane = $3 AND d.pass = p.pass
        AND (d.number, d.sequence) >= ($1, $2)
      ORDER BY d.number, d.sequence LIMIT 1
    ) AS d
    WHERE (d.after_number, d.after_sequence) < ($1, $2) AND (s.consents IS NULL OR versions IS NULL OR EXISTS (
      SELECT FROM consent_version AS v JOIN consent AS k USING (consent_key)
      WHERE v.version_key = ANY (versions) AND k.id = ANY (s.consents)
    ))
  );
END
$$;
COMMENT ON FUNCTION pmp.told_of IS
  'Who acknowledged what has this place in a lane: [{"subscription", "url", "acknowledged_at"}], in the order of time, once '
  'for each replay. versions: of the event''s choices.';

CREATE FUNCTION pmp.list_deliveries(user_id uuid, after_instant timestamptz, after_sequence bigint, row_limit integer)
RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject := find_subject(user_id);
BEGIN
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN jsonb_build_object('items', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'event', e.id, 'received_at', instant(e.received_at),
      'deliveries', told_of(e.transaction_number, e.sequence, CASE WHEN is_prompt(e.enabled, e.source_key) THEN 'prompt' ELSE 'bulk' END, e.versions),
      'place', jsonb_build_array((extract(epoch FROM least(e.occurred_at, e.received_at)) * 1000000)::bigint, e.sequence)
    ) ORDER BY least(e.occurred_at, e.received_at), e.sequence), '[]')
    FROM (
      -- As in list_user_events.
      SELECT e.* FROM unnest(subject_keys(person.subject_key)) AS owned (subject_key)
      CROSS JOIN LATERAL (
        SELECT * FROM event AS e
        WHERE e.subject_key = owned.subject_key
          AND (least(e.occurred_at, e.received_at), e.sequence)
            > (coalesce(after_instant, '-infinity'), coalesce(after_sequence, 0))
        ORDER BY least(e.occurred_at, e.received_at), e.sequence LIMIT row_limit
      ) AS e
      ORDER BY least(e.occurred_at, e.received_at), e.sequence LIMIT row_limit
    ) AS e
  ), 'erasure', (
    SELECT jsonb_build_object(
      'erased_at', n.document -> 'erased_at', 'deliveries', told_of(n.transaction_number, n.sequence, 'notices', NULL)
    )
    FROM notice AS n WHERE n.subject_id = person.id AND n.type = 'user.erased' LIMIT 1
  ));
END
$$;
COMMENT ON FUNCTION pmp.list_deliveries IS
  'Who was told of a user: {"items": [{"event", "received_at", "deliveries": as told_of, "place": [microseconds since 1970, '
  'sequence]}], "erasure": {"erased_at", "deliveries"} or null}, the events after a place in the order of list_user_events. '
  'Also of an erased user; NULL: unknown user.';
GRANT EXECUTE ON FUNCTION
  pmp.current_place, pmp.is_prompt, pmp.claim_lanes, pmp.told_events, pmp.told_notices, pmp.begin_delivery,
  pmp.end_delivery, pmp.postpone_delivery, pmp.told_of, pmp.list_deliveries
TO pmp_app;
COMMIT;
