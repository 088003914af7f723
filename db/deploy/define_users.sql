-- Deploy pmp:define_users to pg
BEGIN;
CREATE FUNCTION pmp.create_user(address text, client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  INSERT INTO subject (id, email, created_by) VALUES (gen_random_uuid(), address, source_key(client))
  RETURNING * INTO person;
  RETURN jsonb_build_object('id', person.id, 'email', person.email, 'consents', '[]'::jsonb);
END
$$;
COMMENT ON FUNCTION pmp.create_user IS
  'Create a user: {"id", "email", "consents": []}. SQLSTATE 23505 (unique_violation): the address is taken.';
GRANT EXECUTE ON FUNCTION pmp.create_user TO pmp_app;
COMMIT;
