-- Deploy pmp:create_catalogue to pg
BEGIN;
CREATE TABLE pmp.consent (
  consent_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text COLLATE "C" NOT NULL UNIQUE CHECK (id ~ '^[a-z][a-z0-9_]{0,62}$'),
  created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pmp.consent IS 'A consent that a user can grant or deny. Its wording is in its versions.';

CREATE TABLE pmp.consent_version (
  version_key        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  consent_key        integer NOT NULL REFERENCES pmp.consent,
  version            integer NOT NULL CHECK (version >= 1),
  description        text NOT NULL CHECK (length(description) BETWEEN 1 AND 2000),
  channel            text NOT NULL CHECK (channel IN ('email', 'sms', 'push', 'phone', 'post', 'web', 'other')),
  expires_after_days integer CHECK (expires_after_days BETWEEN 1 AND 36500),
  created_at         timestamptz NOT NULL DEFAULT now(),
  source_key         integer NOT NULL REFERENCES pmp.source,
  UNIQUE (consent_key, version)
);
COMMENT ON TABLE pmp.consent_version IS
  'The wording that a user answered. Never changed, because events refer to it as proof.';
COMMENT ON COLUMN pmp.consent_version.expires_after_days IS 'Days until a grant expires; NULL: never. A denial never expires.';

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON pmp.consent_version
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

CREATE FUNCTION pmp.instant(moment timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
COMMENT ON FUNCTION pmp.instant IS 'RFC 3339 in UTC with microseconds, in every session time zone.';

CREATE FUNCTION pmp.describe_consent(consent_id text, v pmp.consent_version) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT jsonb_build_object(
    'id', consent_id, 'version', v.version, 'description', v.description, 'channel', v.channel,
    'expires_after_days', v.expires_after_days, 'created_at', pmp.instant(v.created_at)
  )
$$;

CREATE FUNCTION pmp.get_consent(consent_id text, wanted integer DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT describe_consent(k.id, v) FROM consent AS k JOIN consent_version AS v USING (consent_key)
    WHERE k.id = consent_id AND (wanted IS NULL OR v.version = wanted)
    ORDER BY v.version DESC LIMIT 1
  );
END
$$;
COMMENT ON FUNCTION pmp.get_consent IS 'The newest version of a consent, or the wanted one; NULL if it does not exist.';

CREATE FUNCTION pmp.list_consents(after text, row_limit integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(get_consent(k.id) ORDER BY k.id), '[]')
    FROM (SELECT id FROM consent WHERE after IS NULL OR id > after ORDER BY id LIMIT row_limit) AS k
  );
END
$$;
COMMENT ON FUNCTION pmp.list_consents IS 'A page of the catalogue by id, after the id "after" (NULL: from the start).';

CREATE FUNCTION pmp.put_consent(
  consent_id text, description text, channel text, expires_after_days integer, client text
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  consent consent;
  newest consent_version;
  outcome text := 'unchanged';
BEGIN
  INSERT INTO consent (id) VALUES (consent_id) ON CONFLICT DO NOTHING;
  -- Writers of the same consent take turns: version numbers have no gaps and no version is lost.
  SELECT * INTO STRICT consent FROM consent AS k WHERE k.id = consent_id FOR UPDATE;
  SELECT * INTO newest FROM consent_version AS v
  WHERE v.consent_key = consent.consent_key ORDER BY v.version DESC LIMIT 1;
  IF (newest.description, newest.channel, newest.expires_after_days)
    IS DISTINCT FROM ($2, $3, $4)
  THEN
    outcome := CASE WHEN newest.version IS NULL THEN 'created' ELSE 'updated' END;
    INSERT INTO consent_version (consent_key, version, description, channel, expires_after_days, source_key)
    VALUES (consent.consent_key, coalesce(newest.version, 0) + 1, $2, $3, $4, source_key(client))
    RETURNING * INTO newest;
    -- Autovacuum leaves tables of less than 50 rows alone. Of a table that was never analyzed, the planner expects ten
    -- pages, and would rather scan all choices than look up each consent's.
    ANALYZE (SKIP_LOCKED) consent, consent_version;
  END IF;
  RETURN jsonb_build_object('outcome', outcome, 'consent', describe_consent(consent_id, newest));
END
$$;
COMMENT ON FUNCTION pmp.put_consent IS
  'Adds a version unless nothing differs: {"outcome": "created" | "updated" | "unchanged", "consent"}.';

DO $$ BEGIN PERFORM pmp.put_consent('email_notifications', 'Notifications by email', 'email', NULL, 'pmp'); END $$;
DO $$ BEGIN PERFORM pmp.put_consent('sms_notifications', 'Notifications by text message', 'sms', NULL, 'pmp'); END $$;

GRANT SELECT ON pmp.consent, pmp.consent_version TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.instant, pmp.describe_consent, pmp.get_consent, pmp.list_consents TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.put_consent TO pmp_app;
COMMIT;
