-- Deploy pmp:create_sources to pg
BEGIN;
CREATE TABLE pmp.source (
  source_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  client     text UNIQUE,
  import_id  uuid UNIQUE,
  remaining  bigint NOT NULL DEFAULT 0,
  CONSTRAINT source_is_one_kind CHECK (num_nonnulls(client, import_id) < 2),
  CONSTRAINT source_remains_of_import CHECK (remaining = 0 OR import_id IS NOT NULL)
);
COMMENT ON TABLE pmp.source IS
  'The source of a write: an OAuth client or an import. Events refer to it by a four-byte key instead of its text. A row '
  'without either was the source of an import of which nothing is left: the next import takes it.';
COMMENT ON COLUMN pmp.source.remaining IS
  'Of an import whose job was removed: its events, kept denials and users that are still there. Of one with a job: minus its '
  'events that have left. So it comes to 0 only when nothing names the row (docs/adr/0229).';
-- No row is deleted: each foreign key to it would be checked by a scan of all users.
CREATE INDEX source_free ON pmp.source (source_key) WHERE client IS NULL AND import_id IS NULL;

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
    IF source_key.import_id IS NOT NULL THEN
      UPDATE source AS s SET import_id = source_key.import_id
      WHERE s.source_key = (
        SELECT f.source_key FROM source AS f WHERE f.client IS NULL AND f.import_id IS NULL
        ORDER BY f.source_key LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
      )
      RETURNING s.source_key INTO found;
      IF found IS NOT NULL THEN
        RETURN found;
      END IF;
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
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
  RETURN (SELECT coalesce(s.client, 'import:' || s.import_id) FROM pmp.source AS s WHERE s.source_key = $1);
END
$$;
COMMENT ON FUNCTION pmp.source_name IS 'The client id, or import:<import id>.';
GRANT SELECT ON pmp.source TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.source_name TO pmp_app, pmp_readonly;
COMMIT;
