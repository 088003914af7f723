-- Deploy pmp:define_erasure to pg
BEGIN;
CREATE FUNCTION pmp.erase_user(user_id uuid, client text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
#variable_conflict use_column
DECLARE
  person subject;
BEGIN
  -- A batch of an import holds its job's row while it adds events. Waiting for those rows means that no batch that began
  -- before this erasure adds to an erased person, and none begins until this is committed.
  PERFORM 1 FROM import_job AS j WHERE j.state = 'running' ORDER BY j.id FOR SHARE;
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id FOR NO KEY UPDATE;
  IF person.subject_key IS NULL THEN
    RETURN 'unknown_user';
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN 'erased_user';
  END IF;
  UPDATE subject SET email = NULL, erased_at = clock_timestamp(), erased_by = source_key(client)
  WHERE subject_key = person.subject_key;
  DELETE FROM current_choice WHERE subject_key = person.subject_key;
  DELETE FROM idempotency_key WHERE subject_key = person.subject_key;
  RETURN 'erased';
END
$$;
COMMENT ON FUNCTION pmp.erase_user IS
  'GDPR Art. 17: the address goes, the pseudonymous events stay as proof. Outcome: erased, erased_user (before) or '
  'unknown_user.';
GRANT EXECUTE ON FUNCTION pmp.erase_user TO pmp_app;
COMMIT;
