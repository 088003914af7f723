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
GRANT EXECUTE ON FUNCTION pmp.create_user TO pmp_app;
COMMIT;
