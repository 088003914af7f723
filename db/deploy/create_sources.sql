-- Deploy pmp:create_sources to pg
BEGIN;
CREATE TABLE pmp.source (
  source_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  client     text UNIQUE,
  import_id  uuid UNIQUE,
  CONSTRAINT source_is_one_kind CHECK (num_nonnulls(client, import_id) = 1)
);
COMMENT ON TABLE pmp.source IS
  'The source of a write: an OAuth client or an import. Events refer to it by a four-byte key instead of its text.';

CREATE FUNCTION pmp.source_key(client text, import_id uuid DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  found integer;
BEGIN
  LOOP
    SELECT s.source_key INTO found FROM source AS s
    WHERE s.client = source_key.client OR s.import_id = source_key.import_id;
    IF found IS NOT NULL THEN
      RETURN found;
    END IF;
    INSERT INTO source (client, import_id) VALUES (source_key.client, source_key.import_id)
    ON CONFLICT DO NOTHING RETURNING source.source_key INTO found;
    IF found IS NOT NULL THEN
      RETURN found;
    END IF;
    -- Another transaction inserted it between the two statements: the next SELECT sees it.
  END LOOP;
END
$$;
COMMENT ON FUNCTION pmp.source_key IS 'The key of an API client or an import, created on first use.';

CREATE FUNCTION pmp.source_name(source_key integer) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(s.client, 'import:' || s.import_id) FROM pmp.source AS s WHERE s.source_key = $1
$$;
COMMENT ON FUNCTION pmp.source_name IS 'The client id, or import:<import id>.';
GRANT SELECT ON pmp.source TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.source_name TO pmp_app, pmp_readonly;
COMMIT;
