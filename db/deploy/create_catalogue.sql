-- Deploy pmp:create_catalogue to pg
BEGIN;
CREATE TABLE pmp.consent (
  consent_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text COLLATE "C" NOT NULL UNIQUE CHECK (id ~ '^[a-z][a-z0-9_]{0,62}$'),
  created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pmp.consent IS 'What a person can be asked for. The wording lies in its versions.';

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
  'The wording that a person answered; never changed, because events point to it as proof.';
COMMENT ON COLUMN pmp.consent_version.expires_after_days IS 'A choice older than this reads as not given; NULL: never.';

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON pmp.consent_version
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

CREATE VIEW pmp.catalogue AS
SELECT DISTINCT ON (c.id)
  c.id, v.version, v.description, v.channel, v.expires_after_days, v.created_at, c.consent_key, v.version_key
FROM pmp.consent AS c
JOIN pmp.consent_version AS v USING (consent_key)
ORDER BY c.id, v.version DESC;
COMMENT ON VIEW pmp.catalogue IS 'Every consent in its newest version.';

CREATE FUNCTION pmp.put_consent(
  consent_id text, description text, channel text, expires_after_days integer, client text
) RETURNS TABLE (outcome text, id text, version integer, created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
#variable_conflict use_column
DECLARE
  newest catalogue;
  consent consent;
BEGIN
  INSERT INTO consent (id) VALUES (consent_id) ON CONFLICT DO NOTHING;
  -- Two writers of one consent take turns, so that versions have no gap and none is lost.
  SELECT * INTO STRICT consent FROM consent AS c WHERE c.id = consent_id FOR UPDATE;
  SELECT * INTO newest FROM catalogue AS c WHERE c.id = consent_id;
  IF (newest.description, newest.channel) = (put_consent.description, put_consent.channel)
    AND newest.expires_after_days IS NOT DISTINCT FROM put_consent.expires_after_days
  THEN
    RETURN QUERY SELECT 'unchanged', newest.id, newest.version, newest.created_at;
  ELSE
    RETURN QUERY
      INSERT INTO consent_version AS v (consent_key, version, description, channel, expires_after_days, source_key)
      VALUES (
        consent.consent_key, coalesce(newest.version, 0) + 1, put_consent.description, put_consent.channel,
        put_consent.expires_after_days, source_key(client)
      )
      RETURNING CASE v.version WHEN 1 THEN 'created' ELSE 'updated' END, consent_id, v.version, v.created_at;
  END IF;
END
$$;
COMMENT ON FUNCTION pmp.put_consent IS
  'PUT /consents/{id}: a new version, unless nothing differs. Outcome: created, updated or unchanged.';

DO $$ BEGIN PERFORM pmp.put_consent('email_notifications', 'Notifications by e-mail', 'email', NULL, 'pmp'); END $$;
DO $$ BEGIN PERFORM pmp.put_consent('sms_notifications', 'Notifications by text message', 'sms', NULL, 'pmp'); END $$;

GRANT SELECT ON pmp.consent, pmp.consent_version, pmp.catalogue TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.put_consent TO pmp_app;
COMMIT;
