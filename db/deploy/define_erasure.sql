-- Deploy pmp:define_erasure to pg
--
-- The caller writes an erasure into the journal outside the database between prepare_erasure and erase_user.
BEGIN;
CREATE FUNCTION pmp.prepare_erasure(user_id uuid) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  -- Until the end of the transaction nobody adds events to the user, and no other erasure of the user begins. It comes
  -- once, and must not lose its turn to clients that come again and again.
  person subject := lock_subject(user_id, is_limited => false);
  keys bigint[] := subject_keys(person.subject_key);
BEGIN
  RETURN CASE
    WHEN person.subject_key IS NULL THEN NULL
    WHEN person.erased_at IS NOT NULL THEN '{"erased": true}'
    ELSE jsonb_build_object(
      'user_ids', (
        SELECT jsonb_agg(s.id ORDER BY s.merged_into IS NOT NULL, s.subject_key)
        FROM subject AS s WHERE s.subject_key = ANY (keys)
      ),
      'identifiers', (
        SELECT jsonb_agg(named.text)
        FROM (
          SELECT s.email_key AS text FROM subject AS s WHERE s.subject_key = ANY (keys) AND s.email_key IS NOT NULL
          UNION ALL SELECT i.kind || ':' || i.value FROM identifier AS i WHERE i.subject_key = ANY (keys)
        ) AS named
      ),
      'former_hashes', (
        SELECT coalesce(jsonb_agg(encode(f.address_hash, 'hex')), '[]')
        FROM former_identifier AS f WHERE f.subject_key = ANY (keys)
      ),
      'erased_at', instant(clock_timestamp())
    )
  END;
END
$$;
COMMENT ON FUNCTION pmp.prepare_erasure IS
  'Lock a user for an erasure: {"user_ids": [of the user, then of those merged into it], "identifiers": [folded address, kind:value …], "former_hashes": [hexadecimal], of the '
  'identifiers before, "erased_at": now}; {"erased": true}; NULL: unknown user.';

CREATE FUNCTION pmp.erase_user(user_id uuid, client text, hashes bytea[], at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject := lock_subject(user_id, is_limited => false);
  keys bigint[] := subject_keys(person.subject_key);
BEGIN
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN false;
  END IF;
  -- Wait for the import batches under way, which may be adding events to the user, and let none begin until the end of
  -- the transaction: see import_batch.
  PERFORM pg_advisory_xact_lock(erasure_lock());
  UPDATE subject AS s SET email = NULL, erased_at = $4, erased_by = source_key(client)
  WHERE s.subject_key = ANY (keys);
  DELETE FROM current_choice AS c USING consent AS k
  WHERE c.consent_key = k.consent_key AND c.subject_key = person.subject_key;
  DELETE FROM event_context AS c WHERE c.subject_key = ANY (keys);
  DELETE FROM confirmation AS f WHERE f.subject_key = ANY (keys);
  -- The key stays, so that a repeated request does not register the user again.
  UPDATE idempotency_key AS i SET body = NULL, headers = '{}', status = 410 WHERE i.subject_key = ANY (keys);
  DELETE FROM import_preview AS p WHERE p.address_hash = ANY ($3);
  DELETE FROM identifier AS i WHERE i.subject_key = ANY (keys);
  DELETE FROM former_identifier AS f WHERE f.subject_key = ANY (keys);
  INSERT INTO erasure AS e (user_id, address_hash, erased_at)
  SELECT s.id, hash, $4 FROM subject AS s CROSS JOIN unnest($3) AS hash WHERE s.subject_key = ANY (keys)
  ON CONFLICT ON CONSTRAINT erasure_pkey DO UPDATE SET erased_at = greatest(e.erased_at, excluded.erased_at);
  RETURN true;
END
$$;
COMMENT ON FUNCTION pmp.erase_user IS
  'GDPR Art. 17: removes the address, other identifiers and the contexts of events everywhere; the '
  'pseudonymous events and the hashes of the identifiers remain as proof. true: done; false: already erased; NULL: unknown user.';

CREATE FUNCTION pmp.replay_erasure(user_ids uuid[], hashes bytea[], at timestamptz) RETURNS text
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  user_id uuid;
  is_erased boolean := false;
  added integer;
BEGIN
  -- The journal is not in the order of time: the retention looks at erasures from here on again. First, as a portion does.
  UPDATE retention_walk AS w SET erased_at = at, user_id = '00000000-0000-0000-0000-000000000000' WHERE w.erased_at >= at;
  -- By the user's id, never by the address: who registered again is another user.
  FOREACH user_id IN ARRAY user_ids LOOP
    is_erased := erase_user(user_id, 'replay-erasures', hashes, at) IS TRUE OR is_erased;
  END LOOP;
  INSERT INTO erasure (user_id, address_hash, erased_at)
  SELECT id, hash, at FROM unnest(user_ids) AS id CROSS JOIN unnest(hashes) AS hash
  ON CONFLICT ON CONSTRAINT erasure_pkey DO NOTHING;
  GET DIAGNOSTICS added = ROW_COUNT;
  RETURN CASE WHEN is_erased THEN 'erased' WHEN added > 0 THEN 'remembered' ELSE 'known' END;
END
$$;
COMMENT ON FUNCTION pmp.replay_erasure IS
  'Carry out an entry of the journal after a restore. user_ids: of the user and of those merged into it, who may be apart '
  'again. erased: the user had come back; remembered: this database did not '
  'know of the erasure, and does not have the user; known: nothing to do.';

CREATE FUNCTION pmp.lookup_user(
  kind text, value text, hash bytea, after_key bigint, after_instant timestamptz, after_sequence bigint, row_limit integer
) RETURNS jsonb
-- As in replay: the planner would never keep a plan for an array that it does not know.
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  erased bigint[] := ARRAY(
    SELECT s.subject_key FROM erasure AS e JOIN subject AS s ON s.id = e.user_id
    WHERE e.address_hash = hash AND s.erased_at IS NOT NULL
  );
BEGIN
  RETURN jsonb_build_object(
    'user', (SELECT describe_user(s) FROM subject AS s WHERE s.subject_key = subject_named(kind, value)),
    'erased', (
      SELECT coalesce(jsonb_agg(jsonb_build_object('id', e.user_id, 'erased_at', instant(e.erased_at))
        ORDER BY e.erased_at, e.user_id), '[]')
      FROM erasure AS e
      WHERE e.address_hash = hash
        AND NOT EXISTS (SELECT FROM subject AS s WHERE s.id = e.user_id AND s.merged_into IS NOT NULL)
    ),
    'items', (
      SELECT coalesce(jsonb_agg(
        describe_event(e) || jsonb_build_object('place', jsonb_build_array(
          e.subject_key, (extract(epoch FROM least(e.occurred_at, e.received_at)) * 1000000)::bigint, e.sequence
        )) ORDER BY e.subject_key, least(e.occurred_at, e.received_at), e.sequence
      ), '[]')
      FROM (
        SELECT * FROM event_record AS e
        WHERE e.subject_key = ANY (erased)
          AND (e.subject_key, least(e.occurred_at, e.received_at), e.sequence)
            > (coalesce(after_key, 0), coalesce(after_instant, '-infinity'), coalesce(after_sequence, 0))
        ORDER BY e.subject_key, least(e.occurred_at, e.received_at), e.sequence LIMIT row_limit
      ) AS e
    )
  );
END
$$;
COMMENT ON FUNCTION pmp.lookup_user IS
  'Who has or had an identifier (kind, value: see subject_named): {"user" or null, "erased": [{"id", "erased_at"}], '
  '"items": events of the erased users}. The events are a page by (subject_key, least(occurred_at, received_at), sequence) after the given position (NULL: from '
  'the start), each as get_event plus its "place": [subject_key, microseconds since 1970, sequence].';

GRANT EXECUTE ON FUNCTION pmp.prepare_erasure, pmp.erase_user, pmp.lookup_user TO pmp_app;
COMMIT;
