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
  'A new person: {"id", "email", "consents": []}. SQLSTATE 23505 (unique_violation): another person has the address.';
GRANT EXECUTE ON FUNCTION pmp.create_user TO pmp_app;
COMMIT;
