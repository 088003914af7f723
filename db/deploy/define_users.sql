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
  PERFORM FROM subject AS s WHERE s.id = user_id FOR NO KEY UPDATE;
  RETURN get_user(user_id);
END
$$;
COMMENT ON FUNCTION pmp.lock_user IS
  'get_user of a user whom nobody else changes, erases or adds events to until the end of the transaction; imports may.';

CREATE FUNCTION pmp.change_user(user_id uuid, address text, changes jsonb, former_hashes bytea[], client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
  taken text;
BEGIN
  SELECT * INTO STRICT person FROM subject AS s WHERE s.id = user_id AND s.erased_at IS NULL FOR NO KEY UPDATE;
  BEGIN
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
GRANT EXECUTE ON FUNCTION pmp.create_user, pmp.lock_user, pmp.change_user TO pmp_app;
COMMIT;
