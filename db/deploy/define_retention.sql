-- Deploy pmp:define_retention to pg
--
-- How events leave the record, in portions (docs/adr/0229). The functions that remove rows belong to pmp_retention, a
-- role that nobody can log in as: it alone passes the trigger refuse_change, and these are its only functions.
BEGIN;
CREATE FUNCTION pmp.lock_owners(keys bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  -- In the order of create_events.
  PERFORM FROM subject AS s WHERE s.subject_key = ANY (keys) ORDER BY s.subject_key FOR NO KEY UPDATE;
END
$$;
COMMENT ON FUNCTION pmp.lock_owners IS
  'Until the end of the transaction no request adds events to these users: one that repeats an event that is leaving waits, '
  'and finds it in removed_event.';

CREATE FUNCTION pmp.retention_terms(policy jsonb, at timestamptz)
RETURNS TABLE (consent_key integer, days integer, due timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT t.consent_key, t.days, at - t.days * interval '24 hours'
    FROM (
      SELECT k.consent_key, CASE
        WHEN policy -> 'consents' ? k.id THEN (policy -> 'consents' ->> k.id)::integer
        ELSE (policy ->> 'days')::integer
      END AS days
      FROM consent AS k
    ) AS t
    WHERE t.days IS NOT NULL;
END
$$;
COMMENT ON FUNCTION pmp.retention_terms IS
  'The consents whose events leave: after how many days, and the receipt up to which that is so at an instant. policy: '
  '{"days": of all consents, or null: never, "consents": {id: days or null}}.';

CREATE FUNCTION pmp.record_removal(run uuid, kind text, days integer, removed bigint, edge timestamptz, number bigint)
RETURNS void
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  IF removed > 0 THEN
    INSERT INTO retention_run AS r (run, kind, days, removed, edge) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT retention_run_pkey DO UPDATE
    SET removed = r.removed + excluded.removed, portions = r.portions + 1, ended_at = excluded.ended_at,
        edge = greatest(r.edge, excluded.edge);
    UPDATE retention AS r SET
      removed = r.removed + CASE WHEN $2 = 'events' THEN $4 ELSE 0 END,
      highest_number = greatest(r.highest_number, coalesce($6, 0));
  END IF;
END
$$;
COMMENT ON FUNCTION pmp.record_removal IS 'Record a portion in retention_run and retention; number: the highest removed transaction number.';

CREATE FUNCTION pmp.remove_events(doomed bigint[], numbers bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  removed bigint;
BEGIN
  WITH gone AS (
    DELETE FROM event AS e USING unnest(numbers, doomed) AS d (number, sequence)
    WHERE e.transaction_number = d.number AND e.sequence = d.sequence
    RETURNING e.id, e.subject_key, e.sequence, e.has_context, e.source_key
  ), sources AS (
    UPDATE source AS s SET
      remaining = s.remaining - u.number_of, import_id = CASE WHEN s.remaining <> u.number_of THEN s.import_id END
    FROM (SELECT g.source_key, count(*) AS number_of FROM gone AS g GROUP BY g.source_key) AS u
    WHERE s.source_key = u.source_key AND s.import_id IS NOT NULL
  ), contexts AS (
    DELETE FROM event_context AS c USING gone AS g
    WHERE g.has_context AND c.subject_key = g.subject_key AND c.sequence = g.sequence
  ), ids AS (
    INSERT INTO removed_event (id) SELECT g.id FROM gone AS g ORDER BY g.id ON CONFLICT DO NOTHING
  )
  SELECT count(*) INTO removed FROM gone;
  RETURN removed;
END
$$;
COMMENT ON FUNCTION pmp.remove_events IS
  'Remove the events with these sequences and transaction numbers, with their contexts, and keep their ids; returns how many. '
  'The row of source of an import is freed when nothing of it is left.';

CREATE FUNCTION pmp.superseded_events(
  owners bigint[], edge timestamptz, terms jsonb, stop_number bigint, stop_sequence bigint, most integer
) RETURNS TABLE (owner bigint, transaction_number bigint, sequence bigint)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN QUERY
    WITH term AS MATERIALIZED (
      -- No consent's events leave by a later edge than the one up to which reads are refused.
      SELECT r.consent_key, least(r.edge, $2, (terms ->> r.consent_key::text)::timestamptz) AS edge
      FROM retention_edge AS r WHERE terms ? r.consent_key::text
    ), choice AS MATERIALIZED (
      SELECT
        c.*, v.consent_key, counts_at(c.occurred_at, c.received_at, c.has_fraction, c.enabled) AS counts_at,
        c.received_at <= t.edge AS is_within
      FROM (
        SELECT
          m.owner, e.id, e.transaction_number, e.sequence, e.occurred_at, e.received_at, e.has_fraction,
          unnest(e.versions) AS version_key, unnest(e.enabled) AS enabled
        FROM (
          SELECT key AS owner, key AS subject_key FROM unnest(owners) AS key
          UNION ALL
          SELECT s.merged_into, s.subject_key FROM subject AS s WHERE s.merged_into = ANY (owners)
        ) AS m
        CROSS JOIN LATERAL (
          SELECT * FROM event AS e
          -- The first two conditions are for the index. What counts was received by then, too.
          WHERE e.subject_key = m.subject_key AND least(e.occurred_at, e.received_at) <= $2 AND e.received_at <= $2
          OFFSET 0
        ) AS e
      ) AS c
      JOIN consent_version AS v USING (version_key)
      LEFT JOIN term AS t ON t.consent_key = v.consent_key
    ), judged AS (
      -- Of what was received by the edge, the choice that counts shows in every later state. The others show in none.
      SELECT c.*, c.is_within AND row_number() OVER (
        PARTITION BY c.owner, c.consent_key, c.is_within ORDER BY c.counts_at DESC, c.enabled, c.sequence DESC
      ) > 1 AS is_superseded
      FROM choice AS c
    )
    SELECT j.owner, j.transaction_number, j.sequence
    FROM judged AS j
    GROUP BY j.owner, j.id, j.transaction_number, j.sequence
    HAVING bool_and(coalesce(j.is_superseded, false))
      -- The feed is in another order than the receipts: what was received by the edge may be beyond the stop.
      AND (j.transaction_number, j.sequence) <= (stop_number, stop_sequence)
      -- What follows holds by itself, and is asked because nothing brings an event back.
      AND NOT EXISTS (
        SELECT FROM current_choice AS c
        WHERE c.subject_key = j.owner AND c.consent_key = ANY (array_agg(j.consent_key)) AND c.sequence = j.sequence
      )
      AND NOT EXISTS (SELECT FROM confirmation AS f WHERE f.id = j.id)
      AND NOT EXISTS (
        SELECT FROM legal_hold AS h LEFT JOIN subject AS s ON s.subject_key = h.subject_key
        WHERE h.lifted_at IS NULL AND (h.subject_key IS NULL OR coalesce(s.merged_into, s.subject_key) = j.owner)
          AND (h.consent_key IS NULL OR h.consent_key = ANY (array_agg(j.consent_key)))
      )
    ORDER BY j.transaction_number, j.sequence LIMIT most;
END
$$;
COMMENT ON FUNCTION pmp.superseded_events IS
  'Of these users (and of those merged into them) the events that no state from the edge on needs: for each of its choices, '
  'another one that was received by the edge of its consent counts instead. terms: {consent_key: instant up to which '
  'its events may leave}; stop_number, stop_sequence: the last place in the feed whose event may. Not what is on hold, or '
  'can still be confirmed.';

CREATE FUNCTION pmp.forgotten_events(users uuid[], terms jsonb, most integer)
RETURNS TABLE (owner bigint, transaction_number bigint, sequence bigint)
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN QUERY
    SELECT s.subject_key, e.transaction_number, e.sequence
    FROM subject AS s
    CROSS JOIN LATERAL (
      SELECT * FROM event AS e WHERE e.subject_key = s.subject_key OFFSET 0
    ) AS e
    WHERE s.id = ANY (users) AND s.erased_at IS NOT NULL
      AND NOT EXISTS (
        SELECT FROM unnest(e.versions) AS key JOIN consent_version AS v ON v.version_key = key
        WHERE ((terms ->> v.consent_key::text)::timestamptz >= s.erased_at) IS NOT TRUE
      )
      AND NOT EXISTS (
        SELECT FROM legal_hold AS h LEFT JOIN subject AS o ON o.subject_key = h.subject_key
        WHERE h.lifted_at IS NULL
          AND (h.subject_key IS NULL OR coalesce(o.merged_into, o.subject_key) = coalesce(s.merged_into, s.subject_key))
          AND (h.consent_key IS NULL OR h.consent_key = ANY (ARRAY(
            SELECT v.consent_key FROM consent_version AS v WHERE v.version_key = ANY (e.versions)
          )))
      )
    LIMIT most;
END
$$;
COMMENT ON FUNCTION pmp.forgotten_events IS
  'The events of erased users whose erasure is older than the retention of all their consents; terms: as in superseded_events.';

CREATE FUNCTION pmp.remove_expired_events_at(policy jsonb, run uuid, most integer, at timestamptz) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  size CONSTANT integer := least(greatest(most, 1), 5000);
  horizon CONSTANT bigint := feed_horizon();
  terms jsonb;
  until record;
  stop record;
  walk retention_walk;
  cutoff timestamptz;
  place record;
  owners bigint[];
  numbers bigint[];
  doomed bigint[];
  erased record;
  removed bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(retention_lock());
  IF (SELECT r.policy FROM retention AS r) IS DISTINCT FROM $1 THEN
    -- What was passed over by another policy is looked at again.
    DELETE FROM retention_walk;
    UPDATE retention AS r SET policy = $1;
  END IF;
  SELECT jsonb_object_agg(t.consent_key, t.due) INTO terms FROM retention_terms($1, at) AS t;
  IF EXISTS (SELECT FROM retention_terms($1, at) AS t WHERE t.days < 30) THEN
    RAISE EXCEPTION 'events are kept for 30 days at least' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'A retried request, an import or a receiver may still need younger ones. Name more days, or null: never.';
  END IF;

  -- An export of events reads what is there. Other exports show a state, from whose instant on nothing leaves.
  SELECT
    coalesce(min(least(x.as_of, x.known_at)), 'infinity') AS edge, coalesce(bool_or(x.contents = 'events'), false) AS is_all
  INTO until FROM export_job AS x WHERE x.state IN ('waiting', 'running');
  IF terms IS NULL OR until.is_all OR EXISTS (
    SELECT FROM legal_hold AS h WHERE h.lifted_at IS NULL AND num_nonnulls(h.subject_key, h.consent_key) = 0
  ) THEN
    RETURN '{"more": false, "removed": 0}';
  END IF;
  -- What receivers were not told yet does not leave.
  SELECT l.number, l.sequence INTO stop FROM (
    SELECT l.number, l.sequence FROM delivery_lane AS l JOIN subscription AS s USING (subscription_key)
    WHERE s.is_enabled AND l.lane <> 'notices'
    UNION ALL SELECT horizon, 0
  ) AS l ORDER BY l.number, l.sequence LIMIT 1;

  FOR walk IN
    INSERT INTO retention_walk AS w (days) SELECT DISTINCT t.days FROM retention_terms($1, at) AS t ORDER BY t.days
    ON CONFLICT (days) DO UPDATE SET days = excluded.days
    RETURNING w.*
  LOOP
    cutoff := least(at - walk.days * interval '24 hours', until.edge);
    -- In the order of the feed, up to the first event that is too young.
    SELECT
      array_agg(DISTINCT seen.subject_key) AS keys, max(seen.received_at) AS edge,
      (array_agg(seen.transaction_number ORDER BY seen.transaction_number DESC, seen.sequence DESC))[1] AS number,
      (array_agg(seen.sequence ORDER BY seen.transaction_number DESC, seen.sequence DESC))[1] AS sequence
    INTO place
    FROM (
      SELECT e.*, bool_and(e.received_at <= cutoff) OVER (ORDER BY e.transaction_number, e.sequence) AS is_due
      FROM (
        SELECT e.transaction_number, e.sequence, e.subject_key, e.received_at FROM event AS e
        WHERE (e.transaction_number, e.sequence) > (walk.number, walk.sequence)
          AND (e.transaction_number, e.sequence) <= (stop.number, stop.sequence)
        ORDER BY e.transaction_number, e.sequence LIMIT size
      ) AS e
    ) AS seen
    WHERE seen.is_due;

    IF place.number IS NOT NULL THEN
      walk.edge := greatest(walk.edge, place.edge);
      INSERT INTO retention_edge AS r (consent_key, edge)
      SELECT t.consent_key, walk.edge FROM retention_terms($1, at) AS t WHERE t.days = walk.days
      ON CONFLICT (consent_key) DO UPDATE SET edge = excluded.edge WHERE r.edge < excluded.edge;
      SELECT array_agg(DISTINCT coalesce(s.merged_into, s.subject_key)) INTO owners
      FROM subject AS s WHERE s.subject_key = ANY (place.keys);
      SELECT array_agg(DISTINCT s.owner), array_agg(s.transaction_number), array_agg(s.sequence)
      INTO owners, numbers, doomed
      FROM superseded_events(owners, walk.edge, terms, stop.number, stop.sequence, size) AS s;
    ELSE
      -- In the order of time, up to the first erasure of a user of whom receivers were not told everything yet.
      SELECT array_agg(DISTINCT seen.user_id) AS users, max(seen.erased_at) AS erased_at,
        (array_agg(seen.user_id ORDER BY seen.erased_at DESC, seen.user_id DESC))[1] AS user_id
      INTO erased
      FROM (
        SELECT e.*, bool_and(NOT EXISTS (
          SELECT FROM subject AS s JOIN event AS v USING (subject_key)
          WHERE s.id = e.user_id AND (v.transaction_number, v.sequence) > (stop.number, stop.sequence)
        )) OVER (ORDER BY e.erased_at, e.user_id) AS is_told
        FROM (
          SELECT e.user_id, e.erased_at FROM erasure AS e
          WHERE (e.erased_at, e.user_id) > (walk.erased_at, walk.user_id) AND e.erased_at <= cutoff
          ORDER BY e.erased_at, e.user_id LIMIT size
        ) AS e
      ) AS seen
      WHERE seen.is_told;
      CONTINUE WHEN erased.user_id IS NULL;
      SELECT array_agg(DISTINCT f.owner), array_agg(f.transaction_number), array_agg(f.sequence)
      INTO owners, numbers, doomed
      FROM forgotten_events(erased.users, terms, size) AS f;
    END IF;

    removed := 0;
    IF doomed IS NOT NULL THEN
      PERFORM lock_owners(owners);
      removed := remove_events(doomed, numbers);
      PERFORM record_removal(
        run, 'events', walk.days, removed, CASE WHEN place.number IS NULL THEN cutoff ELSE walk.edge END,
        (SELECT max(n) FROM unnest(numbers) AS n)
      );
    END IF;
    -- A portion that is full goes on from the same place.
    IF removed < size THEN
      IF place.number IS NOT NULL THEN
        UPDATE retention_walk AS w SET number = place.number, sequence = place.sequence, edge = walk.edge
        WHERE w.days = walk.days;
      ELSE
        UPDATE retention_walk AS w SET erased_at = erased.erased_at, user_id = erased.user_id WHERE w.days = walk.days;
      END IF;
    END IF;
    RETURN jsonb_build_object('more', true, 'removed', removed, 'days', walk.days, 'edge', instant(walk.edge));
  END LOOP;
  RETURN '{"more": false, "removed": 0}';
END
$$;
COMMENT ON FUNCTION pmp.remove_expired_events_at IS
  'As remove_expired_events, at an instant: for tests.';

CREATE FUNCTION pmp.remove_expired_events(policy jsonb, run uuid, most integer) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
  SELECT remove_expired_events_at(policy, run, most, clock_timestamp())
$$;
COMMENT ON FUNCTION pmp.remove_expired_events IS
  'Remove a portion of the expired events: those that no state after the edge needs, and those of users whose erasure is '
  'as old. It looks at up to "most" events (5,000 at most), and removes no more. policy: see retention_terms. {"more": whether to '
  'call again, "removed", "days", "edge"}.';

CREATE FUNCTION pmp.remove_expired_records_at(kind text, days integer, run uuid, most integer, at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  size CONSTANT integer := least(greatest(most, 1), 5000);
  edge CONSTANT timestamptz := at - days * interval '24 hours';
  doomed uuid[];
  removed bigint;
  stop record;
  number bigint;
BEGIN
  IF days < 30 THEN
    RAISE EXCEPTION 'records of jobs are kept for 30 days at least' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Clients still ask for younger ones. Name more days, or null: never.';
  END IF;
  -- Two runs at once would wait for each other's rows.
  PERFORM pg_advisory_xact_lock(retention_lock());
  CASE kind
  WHEN 'imports' THEN
    -- Not a job whose file is still there: who drops it again would start it again. Parts go first.
    doomed := ARRAY(
      SELECT j.id FROM import_job AS j
      WHERE j.created_at < edge AND j.finished_at < edge AND (j.object_version IS NULL OR j.removed_at IS NOT NULL)
        AND (j.rejects_kept = 0 OR j.rejects_removed_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM import_job AS p WHERE p.parent_id = j.id)
        AND NOT EXISTS (SELECT FROM trial_event AS t WHERE t.import_id = j.id)
        AND NOT EXISTS (SELECT FROM trial_choice AS t WHERE t.import_id = j.id)
      ORDER BY j.created_at, j.id LIMIT size
    );
    DELETE FROM import_reject AS r WHERE r.import_id = ANY (doomed);
    DELETE FROM import_preview AS p WHERE p.import_id = ANY (doomed);
    UPDATE source AS s SET
      remaining = s.remaining + j.accepted + j.new_users,
      import_id = CASE WHEN s.remaining + j.accepted + j.new_users <> 0 THEN s.import_id END
    FROM import_job AS j WHERE j.id = ANY (doomed) AND s.import_id = j.id;
    DELETE FROM import_job AS j WHERE j.id = ANY (doomed);
  WHEN 'exports' THEN
    -- A schedule goes on after its last export.
    DELETE FROM export_job AS x WHERE x.id = ANY (ARRAY(
      SELECT x.id FROM export_job AS x
      WHERE x.created_at < edge AND x.finished_at < edge AND x.removed_at IS NOT NULL
        AND (x.schedule IS NULL OR x.state <> 'succeeded' OR EXISTS (
          SELECT FROM export_job AS o WHERE o.schedule = x.schedule AND o.due_at > x.due_at AND o.state = 'succeeded'
        ))
      ORDER BY x.created_at, x.id LIMIT size
    ));
  WHEN 'notices' THEN
    SELECT l.number, l.sequence INTO stop FROM (
      SELECT l.number, l.sequence FROM delivery_lane AS l JOIN subscription AS s USING (subscription_key)
      WHERE s.is_enabled AND l.lane = 'notices'
      UNION ALL SELECT feed_horizon(), 0
    ) AS l ORDER BY l.number, l.sequence LIMIT 1;
    WITH gone AS (
      DELETE FROM notice AS n USING (
        SELECT n.transaction_number, n.sequence, n.created_at FROM notice AS n
        WHERE (n.transaction_number, n.sequence) <= (stop.number, stop.sequence)
        ORDER BY n.transaction_number, n.sequence LIMIT size
      ) AS old
      WHERE n.transaction_number = old.transaction_number AND n.sequence = old.sequence AND old.created_at < edge
      RETURNING n.transaction_number
    )
    SELECT count(*), max(g.transaction_number) INTO removed, number FROM gone AS g;
  WHEN 'deliveries' THEN
    DELETE FROM delivery AS d WHERE d.ctid = ANY (ARRAY(
      SELECT old.ctid FROM delivery_lane AS l
      CROSS JOIN generate_series(1, l.pass) AS p (pass)
      CROSS JOIN LATERAL (
        SELECT d.ctid, d.acknowledged_at FROM delivery AS d
        WHERE d.subscription_key = l.subscription_key AND d.lane = l.lane AND d.pass = p.pass
        ORDER BY d.number, d.sequence LIMIT size
      ) AS old
      WHERE old.acknowledged_at < edge LIMIT size
    ));
  END CASE;
  IF kind <> 'notices' THEN
    GET DIAGNOSTICS removed = ROW_COUNT;
  END IF;
  PERFORM record_removal(run, kind, days, removed, edge, number);
  RETURN removed;
END
$$;
COMMENT ON FUNCTION pmp.remove_expired_records_at IS 'As remove_expired_records, at an instant: for tests.';

CREATE FUNCTION pmp.remove_expired_records(kind text, days integer, run uuid, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
  SELECT remove_expired_records_at(kind, days, run, most, clock_timestamp())
$$;
COMMENT ON FUNCTION pmp.remove_expired_records IS
  'Remove up to "most" (5,000 at most) records of a kind (see retention_run.kind) that ended more days ago; returns how '
  'many. Imports and exports only once their files were deleted, notices only once they were delivered.';

CREATE FUNCTION pmp.set_legal_hold(user_id uuid, consent_id text, reason text, operator text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person bigint := (find_subject(user_id)).subject_key;
  consent integer := (SELECT k.consent_key FROM consent AS k WHERE k.id = consent_id);
  hold uuid;
BEGIN
  IF user_id IS NOT NULL AND person IS NULL THEN
    RETURN '{"outcome": "unknown_user"}';
  ELSIF consent_id IS NOT NULL AND consent IS NULL THEN
    RETURN '{"outcome": "unknown_consent"}';
  END IF;
  -- After the portion that is under way; the next one sees the hold.
  PERFORM pg_advisory_xact_lock(retention_lock());
  INSERT INTO legal_hold (subject_key, consent_key, reason, set_by) VALUES (person, consent, $3, operator)
  RETURNING id INTO hold;
  RETURN jsonb_build_object('outcome', 'set', 'id', hold);
END
$$;
COMMENT ON FUNCTION pmp.set_legal_hold IS
  'From now on, keep the events of a user (NULL: of all) and consent (NULL: all): {"outcome": "set", "id"}, unknown_user, '
  'unknown_consent. What had left before is gone.';

CREATE FUNCTION pmp.lift_legal_hold(hold_id uuid, operator text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(retention_lock());
  UPDATE legal_hold AS h SET lifted_at = clock_timestamp(), lifted_by = operator
  WHERE h.id = hold_id AND h.lifted_at IS NULL;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', CASE
      WHEN EXISTS (SELECT FROM legal_hold AS h WHERE h.id = hold_id) THEN 'lifted_before' ELSE 'unknown'
    END);
  END IF;
  -- What was passed over is looked at again.
  DELETE FROM retention_walk;
  RETURN '{"outcome": "lifted"}';
END
$$;
COMMENT ON FUNCTION pmp.lift_legal_hold IS 'End a hold: {"outcome": "lifted" | "lifted_before" | "unknown"}.';

CREATE FUNCTION pmp.keep_for_export() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(retention_lock());
  PERFORM refuse_before_edge(new.as_of, new.known_at);
  RETURN new;
END
$$;
COMMENT ON FUNCTION pmp.keep_for_export IS
  'Refuse an export of a state from before the edge; from then on, portions see the export and leave what it needs.';
CREATE TRIGGER keep_for_export BEFORE INSERT ON pmp.export_job
FOR EACH ROW EXECUTE FUNCTION pmp.keep_for_export();

-- What has left may have been the newest.
CREATE OR REPLACE FUNCTION pmp.highest_number() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT greatest(
    0, (SELECT max(s.transaction_number) FROM subject AS s), (SELECT max(e.transaction_number) FROM event AS e),
    (SELECT max(n.transaction_number) FROM notice AS n), (SELECT max(l.number) FROM delivery_lane AS l),
    (SELECT r.highest_number FROM retention AS r)
  )
$$;

GRANT USAGE, CREATE ON SCHEMA pmp TO pmp_retention;
ALTER FUNCTION pmp.remove_expired_events_at OWNER TO pmp_retention;
ALTER FUNCTION pmp.remove_expired_events OWNER TO pmp_retention;
ALTER FUNCTION pmp.remove_expired_records_at OWNER TO pmp_retention;
ALTER FUNCTION pmp.remove_expired_records OWNER TO pmp_retention;
-- It owns nothing else, and makes nothing.
REVOKE CREATE ON SCHEMA pmp FROM pmp_retention;
GRANT SELECT, DELETE ON
  pmp.event, pmp.event_context, pmp.notice, pmp.delivery, pmp.import_job, pmp.import_reject, pmp.import_preview,
  pmp.export_job
TO pmp_retention;
GRANT SELECT, INSERT ON pmp.removed_event TO pmp_retention;
GRANT SELECT, INSERT, UPDATE ON pmp.retention_edge, pmp.retention_run TO pmp_retention;
GRANT SELECT, UPDATE ON pmp.retention TO pmp_retention;
GRANT SELECT, INSERT, UPDATE, DELETE ON pmp.retention_walk TO pmp_retention;
GRANT SELECT ON
  pmp.consent, pmp.consent_version, pmp.current_choice, pmp.confirmation, pmp.legal_hold, pmp.delivery_lane,
  pmp.subscription, pmp.erasure, pmp.trial_event, pmp.trial_choice, pmp.feed_epoch, pmp.mark
TO pmp_retention;
GRANT SELECT (subject_key, id, merged_into, erased_at) ON pmp.subject TO pmp_retention;
GRANT SELECT, UPDATE (import_id, remaining) ON pmp.source TO pmp_retention;
GRANT EXECUTE ON FUNCTION
  pmp.lock_owners, pmp.retention_terms, pmp.record_removal, pmp.remove_events, pmp.superseded_events,
  pmp.forgotten_events, pmp.retention_lock, pmp.feed_horizon, pmp.counts_at, pmp.instant
TO pmp_retention;
GRANT EXECUTE ON FUNCTION pmp.remove_expired_events, pmp.remove_expired_records TO pmp_app;
COMMIT;
