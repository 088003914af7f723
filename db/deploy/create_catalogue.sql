-- Deploy pmp:create_catalogue to pg
BEGIN;
CREATE TABLE pmp.consent (
  consent_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text COLLATE "C" NOT NULL UNIQUE CHECK (id ~ '^[a-z][a-z0-9_]{0,62}$'),
  created_at  timestamptz NOT NULL DEFAULT now(),
  retired_at  timestamptz,
  retired_by  integer REFERENCES pmp.source,
  CONSTRAINT consent_is_retired_by_somebody CHECK ((retired_at IS NULL) = (retired_by IS NULL))
);
COMMENT ON TABLE pmp.consent IS 'A consent that a user can grant or deny. Its wording is in its versions.';
COMMENT ON COLUMN pmp.consent.retired_at IS 'Since when nobody can grant it any more; NULL: it is in use.';

CREATE TABLE pmp.consent_version (
  version_key        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  consent_key        integer NOT NULL REFERENCES pmp.consent,
  version            integer NOT NULL CHECK (version >= 1),
  description        text NOT NULL CHECK (length(description) BETWEEN 1 AND 2000),
  channel            text NOT NULL CHECK (channel IN ('email', 'sms', 'push', 'phone', 'post', 'web', 'other')),
  expires_after_days integer CHECK (expires_after_days BETWEEN 1 AND 36500),
  model              text NOT NULL DEFAULT 'opt_in' CHECK (model IN ('opt_in', 'opt_out', 'legitimate_interest')),
  models_by_country  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(models_by_country) = 'object'),
  legal_basis        text NOT NULL DEFAULT 'consent' CHECK (legal_basis IN (
    'consent', 'contract', 'legal_obligation', 'vital_interests', 'public_task', 'legitimate_interests'
  )),
  translations       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(translations) = 'object'),
  requires_new_consent boolean NOT NULL DEFAULT false,
  opt_out_signals    jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(opt_out_signals) = 'array'),
  allowed_values     jsonb CHECK (jsonb_typeof(allowed_values) = 'array'),
  multiple           boolean NOT NULL DEFAULT false,
  created_at         timestamptz NOT NULL DEFAULT now(),
  source_key         integer NOT NULL REFERENCES pmp.source,
  superseded_at      timestamptz,
  UNIQUE (consent_key, version),
  CONSTRAINT consent_version_basis_fits_model CHECK (
    (legal_basis = 'consent') = (model = 'opt_in')
    AND (model <> 'legitimate_interest' OR legal_basis = 'legitimate_interests')
  ),
  CONSTRAINT consent_version_multiple_of_values CHECK (NOT multiple OR allowed_values IS NOT NULL)
);
COMMENT ON TABLE pmp.consent_version IS
  'The wording that a user answered, and its terms. Never changed, because events refer to it as proof; only '
  'superseded_at is set later.';
COMMENT ON COLUMN pmp.consent_version.expires_after_days IS 'Days until a grant expires; NULL: never. A denial never expires.';
COMMENT ON COLUMN pmp.consent_version.model IS
  'What silence means: opt_in: no; opt_out, legitimate_interest: yes, until the user denies.';
COMMENT ON COLUMN pmp.consent_version.models_by_country IS
  '{country or its subdivision (ISO 3166): model} where another model applies.';
COMMENT ON COLUMN pmp.consent_version.legal_basis IS
  'GDPR Art. 6(1). Consent is an affirmative act (Art. 4(11)), so it is the basis of opt_in, and of opt_in only.';
COMMENT ON COLUMN pmp.consent_version.translations IS '{language tag (BCP 47): wording}.';
COMMENT ON COLUMN pmp.consent_version.requires_new_consent IS
  'Whether grants of older versions count no longer once this version exists.';
COMMENT ON COLUMN pmp.consent_version.opt_out_signals IS 'Signals of a browser that deny this consent: ["gpc"].';
COMMENT ON COLUMN pmp.consent_version.allowed_values IS
  '[{"id", "description"}] among which a grant may choose; NULL: the answer is yes or no only.';
COMMENT ON COLUMN pmp.consent_version.multiple IS 'Whether a grant may choose several values.';
COMMENT ON COLUMN pmp.consent_version.superseded_at IS
  'When a later version was created that requires new consent: from then on, grants of this one count no longer.';

CREATE TRIGGER refuse_change BEFORE UPDATE OF
  version_key, consent_key, version, description, channel, expires_after_days, model, models_by_country, legal_basis,
  translations, requires_new_consent, opt_out_signals, allowed_values, multiple, created_at, source_key
OR DELETE OR TRUNCATE ON pmp.consent_version
FOR EACH STATEMENT EXECUTE FUNCTION pmp.refuse_change();

-- SQL functions are inlined (db/test/functions.sql), but not if they are declared as more than what they call: to_char and
-- jsonb_build_object are STABLE. One that is not inlined is parsed and planned again by each statement that calls it.
CREATE FUNCTION pmp.instant(moment timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
  SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
COMMENT ON FUNCTION pmp.instant IS 'RFC 3339 in UTC with microseconds, in every session time zone.';

CREATE FUNCTION pmp.describe_consent(k pmp.consent, v pmp.consent_version) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT jsonb_build_object(
    'id', k.id, 'version', v.version, 'description', v.description, 'channel', v.channel,
    'expires_after_days', v.expires_after_days, 'model', v.model, 'models_by_country', v.models_by_country,
    'legal_basis', v.legal_basis, 'translations', v.translations, 'requires_new_consent', v.requires_new_consent,
    'opt_out_signals', v.opt_out_signals, 'values', v.allowed_values, 'multiple', v.multiple,
    'created_at', pmp.instant(v.created_at), 'retired_at', pmp.instant(k.retired_at)
  )
$$;

CREATE FUNCTION pmp.get_consent(consent_id text, wanted integer DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT describe_consent(k, v) FROM consent AS k JOIN consent_version AS v USING (consent_key)
    WHERE k.id = consent_id AND (wanted IS NULL OR v.version = wanted)
    ORDER BY v.version DESC LIMIT 1
  );
END
$$;
COMMENT ON FUNCTION pmp.get_consent IS 'The newest version of a consent, or the wanted one; NULL if it does not exist.';

CREATE FUNCTION pmp.list_consents(after text, row_limit integer, retired boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(get_consent(k.id) ORDER BY k.id), '[]')
    FROM (
      SELECT id FROM consent WHERE (after IS NULL OR id > after) AND (retired_at IS NOT NULL) = retired
      ORDER BY id LIMIT row_limit
    ) AS k
  );
END
$$;
COMMENT ON FUNCTION pmp.list_consents IS
  'A page of the catalogue by id, after the id "after" (NULL: from the start): consents in use, or the retired ones.';

CREATE FUNCTION pmp.list_versions(consent_id text, after integer, row_limit integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT (
      SELECT coalesce(jsonb_agg(describe_consent(k, v) ORDER BY v.version), '[]')
      FROM (
        SELECT v.* FROM consent_version AS v
        WHERE v.consent_key = k.consent_key AND v.version > coalesce(after, 0) ORDER BY v.version LIMIT row_limit
      ) AS v
    )
    FROM consent AS k WHERE k.id = consent_id
  );
END
$$;
COMMENT ON FUNCTION pmp.list_versions IS
  'A page of the versions of a consent, after the version "after" (NULL: from the first); NULL: unknown consent.';

CREATE FUNCTION pmp.retire_consent(consent_id text, client text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
BEGIN
  UPDATE consent AS k SET retired_at = now(), retired_by = source_key(client)
  WHERE k.id = consent_id AND k.retired_at IS NULL;
  RETURN get_consent(consent_id);
END
$$;
COMMENT ON FUNCTION pmp.retire_consent IS
  'From now on nobody can grant the consent; put_consent revives it. As get_consent.';

CREATE FUNCTION pmp.put_consent(
  consent_id text, description text, channel text, expires_after_days integer, client text, terms jsonb DEFAULT '{}'
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  most CONSTANT integer := 500;
  consent consent;
  newest consent_version;
  wanted consent_version;
  outcome text := 'unchanged';
BEGIN
  IF NOT EXISTS (SELECT FROM consent AS k WHERE k.id = consent_id) THEN
    -- Who adds a consent waits for whoever is adding another: their number is exact.
    PERFORM pg_advisory_xact_lock(hashtextextended('catalogue', 0));
    IF (SELECT count(*) FROM consent AS k WHERE k.id <> consent_id) >= most THEN
      RETURN jsonb_build_object('outcome', 'too_many', 'most', most);
    END IF;
    -- Only of the id: any other conflict is an error, not a consent that is there already.
    INSERT INTO consent (id) VALUES (consent_id) ON CONFLICT (id) DO NOTHING;
  END IF;
  -- Writers of the same consent take turns: version numbers have no gaps and no version is lost.
  SELECT * INTO consent FROM consent AS k WHERE k.id = consent_id FOR UPDATE;
  IF consent.consent_key IS NULL THEN
    RAISE EXCEPTION 'consent % was neither found nor added', consent_id
      USING HINT = 'Somebody has deleted it meanwhile, or the transaction is not READ COMMITTED.';
  END IF;
  SELECT * INTO newest FROM consent_version AS v
  WHERE v.consent_key = consent.consent_key ORDER BY v.version DESC LIMIT 1;
  IF consent.retired_at IS NOT NULL THEN
    UPDATE consent AS k SET retired_at = NULL, retired_by = NULL
    WHERE k.consent_key = consent.consent_key RETURNING k.* INTO consent;
  END IF;
  wanted := newest;
  wanted.description := $2;
  wanted.channel := $3;
  wanted.expires_after_days := $4;
  wanted.model := coalesce(terms ->> 'model', 'opt_in');
  wanted.models_by_country := coalesce(terms -> 'models_by_country', '{}');
  wanted.legal_basis := coalesce(
    terms ->> 'legal_basis', CASE wanted.model WHEN 'opt_in' THEN 'consent' ELSE 'legitimate_interests' END
  );
  wanted.translations := coalesce(terms -> 'translations', '{}');
  wanted.requires_new_consent := coalesce((terms ->> 'requires_new_consent')::boolean, false);
  wanted.opt_out_signals := coalesce(terms -> 'opt_out_signals', '[]');
  wanted.allowed_values := nullif(terms -> 'values', 'null');
  wanted.multiple := coalesce((terms ->> 'multiple')::boolean, false);
  IF wanted IS DISTINCT FROM newest THEN
    outcome := CASE WHEN newest.version IS NULL THEN 'created' ELSE 'updated' END;
    INSERT INTO consent_version (
      consent_key, version, description, channel, expires_after_days, model, models_by_country, legal_basis,
      translations, requires_new_consent, opt_out_signals, allowed_values, multiple, source_key
    ) VALUES (
      consent.consent_key, coalesce(newest.version, 0) + 1, wanted.description, wanted.channel,
      wanted.expires_after_days, wanted.model, wanted.models_by_country, wanted.legal_basis, wanted.translations,
      wanted.requires_new_consent, wanted.opt_out_signals, wanted.allowed_values, wanted.multiple, source_key(client)
    )
    RETURNING * INTO newest;
    IF newest.requires_new_consent THEN
      UPDATE consent_version AS v SET superseded_at = newest.created_at
      WHERE v.consent_key = newest.consent_key AND v.version < newest.version AND v.superseded_at IS NULL;
    END IF;
    -- Autovacuum leaves tables of less than 50 rows alone. Of a table that was never analyzed, the planner expects ten
    -- pages, and would rather scan all choices than look up each consent's.
    ANALYZE (SKIP_LOCKED) consent, consent_version;
  END IF;
  RETURN jsonb_build_object('outcome', outcome, 'consent', describe_consent(consent, newest));
END
$$;
COMMENT ON FUNCTION pmp.put_consent IS
  'Adds a version unless nothing differs, and revives a retired consent: {"outcome": "created" | "updated" | '
  '"unchanged", "consent"}; {"outcome": "too_many", "most"}: the catalogue is full. terms: {"model", "models_by_country", "legal_basis", "translations", '
  '"requires_new_consent", "opt_out_signals", "values", "multiple"}, each with the default of its column if it is absent; '
  'without "model" opt_in, "legal_basis" is legitimate_interests.';

DO $$ BEGIN PERFORM pmp.put_consent('email_notifications', 'Notifications by email', 'email', NULL, 'pmp'); END $$;
DO $$ BEGIN PERFORM pmp.put_consent('sms_notifications', 'Notifications by text message', 'sms', NULL, 'pmp'); END $$;

GRANT SELECT ON pmp.consent, pmp.consent_version TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.instant, pmp.describe_consent, pmp.get_consent, pmp.list_consents, pmp.list_versions
TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.put_consent, pmp.retire_consent TO pmp_app;
COMMIT;
