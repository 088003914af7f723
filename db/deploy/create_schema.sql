-- Deploy pmp:create_schema to pg
BEGIN;
CREATE SCHEMA pmp;
COMMENT ON SCHEMA pmp IS 'Preference Management Platform: people, consents and the events that connect them.';

-- Functions are executable by everybody unless told otherwise; each is granted by name to who needs it.
ALTER DEFAULT PRIVILEGES IN SCHEMA pmp REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA pmp TO pmp_app, pmp_readonly;

-- The trigger function of every table whose rows stay as they are, whoever asks: the owner included.
CREATE FUNCTION pmp.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  RAISE EXCEPTION '% on %: its rows are never changed or removed', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END
$$;
COMMIT;
