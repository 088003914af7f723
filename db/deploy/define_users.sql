-- Deploy pmp:define_users to pg
BEGIN;
CREATE FUNCTION pmp.create_user(address text, client text, identifiers jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
  taken text;
BEGIN
  -- No unique_violation: its text names the address.
  INSERT INTO subject (id, email, created_by) VALUES (gen_random_uuid(), address, source_key(client))
  ON CONFLICT (email_key) DO NOTHING
  RETURNING * INTO person;
  IF person.id IS NULL THEN
    RETURN '{"taken": "email"}';
  ELSIF identifiers = '{}' THEN
    RETURN describe_user(person);
  END IF;
  taken := set_identifiers(person.subject_key, identifiers, client);
  RETURN CASE WHEN taken IS NULL THEN get_user(person.id) ELSE jsonb_build_object('taken', taken) END;
END
$$;
COMMENT ON FUNCTION pmp.create_user IS
  'Create a user; identifiers: {kind: value}, see identifier. As get_user returns it, usually without consents; {"taken": '
  '"email" or the kind that another user has}: the caller rolls back.';

CREATE FUNCTION pmp.lock_user(user_id uuid) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  PERFORM lock_subject(user_id);
  RETURN get_user(user_id);
END
$$;
COMMENT ON FUNCTION pmp.lock_user IS
  'get_user of a user whom nobody else changes, erases or adds events to until the end of the transaction; imports may.';

CREATE FUNCTION pmp.change_user(user_id uuid, address text, changes jsonb, former_hashes bytea[], client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject := lock_subject(user_id);
  taken text;
BEGIN
  BEGIN
    -- An address of a user who was merged into this one may come forward.
    UPDATE subject AS s SET email = NULL
    WHERE s.merged_into = person.subject_key AND s.email_key = fold_email(address);
    UPDATE subject AS s SET email = address WHERE s.subject_key = person.subject_key AND s.email <> address;
  EXCEPTION
    -- Caught here, because its text names the address.
    WHEN unique_violation THEN
      RETURN '{"taken": "email"}';
  END;
  taken := set_identifiers(person.subject_key, changes, client);
  IF taken IS NOT NULL THEN
    RETURN jsonb_build_object('taken', taken);
  END IF;
  INSERT INTO former_identifier (subject_key, address_hash, replaced_by)
  SELECT person.subject_key, hash, source_key(client) FROM unnest(former_hashes) AS hash
  ON CONFLICT (subject_key, address_hash) DO UPDATE
  SET replaced_at = excluded.replaced_at, replaced_by = excluded.replaced_by;
  RETURN get_user(user_id);
END
$$;
COMMENT ON FUNCTION pmp.change_user IS
  'Change a locked user (see lock_user). address: the one to have; changes: {kind: value, or null to remove it}, see '
  'identifier; former_hashes: erasure.address_hash of each address or identifier that the user has no longer. As get_user '
  'returns the user then; {"taken": "email" or kind}: another user has it, and the caller rolls back.';

CREATE FUNCTION pmp.merge_users(user_id uuid, other_id uuid, client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
  other subject;
BEGIN
  LOOP
    person := find_subject(user_id);
    other := find_subject(other_id);
    IF person.subject_key IS NULL OR other.subject_key IS NULL THEN
      RETURN jsonb_build_object('unknown', CASE WHEN person.subject_key IS NULL THEN 'user' ELSE 'other' END);
    ELSIF person.erased_at IS NOT NULL OR other.erased_at IS NOT NULL THEN
      RETURN jsonb_build_object('erased', CASE WHEN person.erased_at IS NOT NULL THEN 'user' ELSE 'other' END);
    ELSIF person.subject_key = other.subject_key THEN
      RETURN get_user(user_id);
    END IF;
    -- As lock_subject does, but both at once: two merges of the same users, in whatever direction, take turns.
    PERFORM FROM subject AS s WHERE s.merged_into IN (person.subject_key, other.subject_key)
    ORDER BY s.subject_key FOR NO KEY UPDATE;
    PERFORM FROM subject AS s WHERE s.subject_key IN (person.subject_key, other.subject_key)
    ORDER BY s.subject_key FOR NO KEY UPDATE;
    -- Otherwise one of them was merged or erased meanwhile.
    EXIT WHEN (
      SELECT count(*) FROM subject AS s
      WHERE s.subject_key IN (person.subject_key, other.subject_key) AND s.merged_into IS NULL AND s.erased_at IS NULL
    ) = 2;
  END LOOP;
  -- No import batch is adding events to the other user: see erase_user.
  PERFORM pg_advisory_xact_lock(erasure_lock());

  -- Of each consent, the choice stays that a replay of both histories gives.
  DELETE FROM current_choice AS c USING consent AS k, current_choice AS o
  WHERE c.consent_key = k.consent_key AND o.consent_key = k.consent_key
    AND c.subject_key IN (person.subject_key, other.subject_key)
    AND o.subject_key IN (person.subject_key, other.subject_key)
    AND (o.counts_at, NOT o.enabled, o.sequence) > (c.counts_at, NOT c.enabled, c.sequence);
  UPDATE current_choice AS c SET subject_key = person.subject_key FROM consent AS k
  WHERE c.consent_key = k.consent_key AND c.subject_key = other.subject_key;

  -- What the user has already of a kind stays with the merged row, and leads here all the same.
  UPDATE identifier AS i SET subject_key = person.subject_key
  WHERE i.subject_key = other.subject_key
    AND NOT EXISTS (SELECT FROM identifier AS o WHERE o.subject_key = person.subject_key AND o.kind = i.kind);
  UPDATE confirmation AS f SET subject_key = person.subject_key WHERE f.subject_key = other.subject_key;
  UPDATE subject AS s SET merged_into = person.subject_key WHERE s.merged_into = other.subject_key;
  UPDATE subject AS s SET merged_into = person.subject_key, merged_at = now(), merged_by = source_key(client)
  WHERE s.subject_key = other.subject_key;
  UPDATE subject AS s SET has_more = true WHERE s.subject_key = person.subject_key;
  RETURN get_user(user_id);
END
$$;
COMMENT ON FUNCTION pmp.merge_users IS
  'Give the events, choices and identifiers of another user to a user, for good. As get_user returns the user then, also '
  'if the two were one before; {"unknown" or "erased": "user" or "other"}: nothing was changed.';
GRANT EXECUTE ON FUNCTION pmp.merge_users, pmp.create_user, pmp.lock_user, pmp.change_user TO pmp_app;
COMMIT;
