-- Deploy pmp:define_users to pg
BEGIN;
CREATE FUNCTION pmp.create_user(user_id uuid, address text, client text)
RETURNS TABLE (outcome text, id uuid, email text, created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    INSERT INTO subject AS s (id, email, created_by)
    VALUES (user_id, address, source_key(client))
    ON CONFLICT (email_key) DO NOTHING
    RETURNING 'created', s.id, s.email, s.created_at;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'taken', NULL::uuid, address, NULL::timestamptz;
  END IF;
END
$$;
COMMENT ON FUNCTION pmp.create_user IS 'POST /users. Outcome: created, or taken when another person has the address.';
GRANT EXECUTE ON FUNCTION pmp.create_user TO pmp_app;
COMMIT;
