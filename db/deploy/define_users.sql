-- Deploy pmp:define_users to pg
BEGIN;
CREATE FUNCTION pmp.create_user(address text, client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  -- No unique_violation: its text names the address.
  INSERT INTO subject (id, email, created_by) VALUES (gen_random_uuid(), address, source_key(client))
  ON CONFLICT (email_key) DO NOTHING
  RETURNING * INTO person;
  RETURN CASE
    WHEN person.id IS NOT NULL THEN describe_user(person)
  END;
END
$$;
COMMENT ON FUNCTION pmp.create_user IS
  'Create a user: as get_user returns it, usually without consents; NULL: the address is taken.';

CREATE FUNCTION pmp.lock_user(user_id uuid) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  PERFORM FROM subject AS s WHERE s.id = user_id FOR NO KEY UPDATE;
  RETURN get_user(user_id);
END
$$;
COMMENT ON FUNCTION pmp.lock_user IS
  'get_user of a user whom nobody else changes, erases or adds events to until the end of the transaction; imports may.';

CREATE FUNCTION pmp.change_user(user_id uuid, address text, former_hash bytea, client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  SELECT * INTO STRICT person FROM subject AS s WHERE s.id = user_id AND s.erased_at IS NULL FOR NO KEY UPDATE;
  BEGIN
    UPDATE subject AS s SET email = address WHERE s.subject_key = person.subject_key;
  EXCEPTION
    -- Caught here, because its text names the address.
    WHEN unique_violation THEN
      RETURN '{"taken": "email"}';
  END;
  IF fold_email(address) <> person.email_key THEN
    INSERT INTO former_address (subject_key, address_hash, replaced_by)
    VALUES (person.subject_key, former_hash, source_key(client))
    ON CONFLICT (subject_key, address_hash) DO UPDATE
    SET replaced_at = excluded.replaced_at, replaced_by = excluded.replaced_by;
  END IF;
  RETURN get_user(user_id);
END
$$;
COMMENT ON FUNCTION pmp.change_user IS
  'Give a locked user (see lock_user) another address. former_hash: erasure.address_hash of the present one. As get_user '
  'returns the user then; {"taken": "email"}: another user has the address, and nothing was changed.';
GRANT EXECUTE ON FUNCTION pmp.create_user, pmp.lock_user, pmp.change_user TO pmp_app;
COMMIT;
