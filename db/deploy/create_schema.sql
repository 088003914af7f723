-- Deploy pmp:create_schema to pg
BEGIN;
CREATE SCHEMA pmp;
COMMENT ON SCHEMA pmp IS 'Preference Management Platform: users, consents and the events that connect them.';

-- PostgreSQL lets PUBLIC execute functions by default. Here each function is granted by name to the roles that need it.
ALTER DEFAULT PRIVILEGES IN SCHEMA pmp REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA pmp TO pmp_app, pmp_readonly;

-- Trigger function of the tables whose rows nobody may change, not even the owner. Expired ones leave by the functions of
-- pmp_retention (define_retention), as which nobody can log in.
CREATE FUNCTION pmp.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_user = 'pmp_retention' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION '% on %: its rows are never changed or removed', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END
$$;
COMMIT;
