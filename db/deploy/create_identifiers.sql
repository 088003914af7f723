-- Deploy pmp:create_identifiers to pg
--
-- What names a user besides the email address (docs/adr/0221).
BEGIN;
CREATE TABLE pmp.identifier (
  kind        text COLLATE "C" NOT NULL CHECK (kind ~ '^(phone|external:[a-z][a-z0-9_]{0,31})$'),
  value       text COLLATE "C" NOT NULL CHECK (length(value) BETWEEN 1 AND 200),
  -- No foreign key: see create_events.
  subject_key bigint NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  created_by  integer NOT NULL REFERENCES pmp.source,
  PRIMARY KEY (kind, value),
  UNIQUE (subject_key, kind)
);
COMMENT ON TABLE pmp.identifier IS
  'Phone numbers and ids of other systems. Of each kind a user has at most one, and a value belongs to one user.';
COMMENT ON COLUMN pmp.identifier.kind IS 'phone; or external: and the namespace of the other system.';
COMMENT ON COLUMN pmp.identifier.value IS 'Of a phone: + and 7 to 15 digits (E.164).';

CREATE FUNCTION pmp.subject_named(kind text, value text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  IF $1 = 'email' THEN
    RETURN (SELECT coalesce(s.merged_into, s.subject_key) FROM subject AS s WHERE s.email_key = fold_email($2));
  END IF;
  RETURN (
    SELECT coalesce(s.merged_into, s.subject_key) FROM identifier AS i JOIN subject AS s USING (subject_key)
    WHERE i.kind = $1 AND i.value = $2
  );
END
$$;
COMMENT ON FUNCTION pmp.subject_named IS
  'subject_key of the user with an identifier; kind: email, or as in identifier; NULL: nobody has it.';

CREATE FUNCTION pmp.describe_identifiers(subject_key bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  RETURN (
    SELECT jsonb_strip_nulls(jsonb_build_object(
      'phone', max(i.value) FILTER (WHERE i.kind = 'phone'),
      'external_ids', jsonb_object_agg(substr(i.kind, 10), i.value) FILTER (WHERE i.kind <> 'phone'),
      'merged', (
        SELECT jsonb_agg(
          jsonb_build_object('id', s.id, 'email', s.email) || describe_identifiers(s.subject_key) ORDER BY s.subject_key
        )
        FROM subject AS s WHERE s.merged_into = $1
      )
    ))
    FROM identifier AS i WHERE i.subject_key = $1
  );
END
$$;
COMMENT ON FUNCTION pmp.describe_identifiers IS
  'Identifiers as members of a user''s document: {"phone"?, "external_ids"?: {namespace: id}, "merged"?: [{"id", "email"?, '
  '"phone"?, "external_ids"?}]: users merged into this one, with what this one has of its own}.';

CREATE FUNCTION pmp.set_identifiers(subject_key bigint, changes jsonb, client text) RETURNS text
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  change record;
BEGIN
  -- In one order, so that two users who exchange identifiers do not wait for each other.
  FOR change IN SELECT key AS kind, jsonb_each_text.value FROM jsonb_each_text(changes) ORDER BY key LOOP
    DELETE FROM identifier AS i
    WHERE i.subject_key = $1 AND i.kind = change.kind AND i.value IS DISTINCT FROM change.value;
    CONTINUE WHEN change.value IS NULL;
    INSERT INTO identifier AS i (kind, value, subject_key, created_by)
    VALUES (change.kind, change.value, $1, source_key(client))
    ON CONFLICT (kind, value) DO UPDATE SET subject_key = excluded.subject_key
    WHERE i.subject_key = ANY (subject_keys(excluded.subject_key));
    IF NOT FOUND THEN
      RETURN change.kind;
    END IF;
    UPDATE subject AS s SET has_more = true WHERE s.subject_key = $1 AND NOT s.has_more;
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION pmp.set_identifiers IS
  'Give a locked or new user identifiers: {kind: value, or null to remove it}. NULL: done; otherwise the kind whose value '
  'belongs to another user, and the caller rolls back.';

GRANT SELECT ON pmp.identifier TO pmp_app;
-- Reports do not need who is meant.
GRANT SELECT (kind, subject_key, created_at) ON pmp.identifier TO pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.subject_named, pmp.describe_identifiers TO pmp_app;
COMMIT;
