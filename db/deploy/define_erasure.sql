-- Deploy pmp:define_erasure to pg
BEGIN;
CREATE FUNCTION pmp.erase_user(user_id uuid, client text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  person subject;
BEGIN
  -- An import batch locks its job's row while it adds events. Locking those rows here means that no batch that began
  -- before this erasure adds events to an erased user, and no batch begins until it is committed.
  PERFORM 1 FROM import_job AS j WHERE j.state = 'running' ORDER BY j.id FOR SHARE;
  SELECT * INTO person FROM subject AS s WHERE s.id = user_id FOR NO KEY UPDATE;
  IF person.subject_key IS NULL THEN
    RETURN NULL;
  ELSIF person.erased_at IS NOT NULL THEN
    RETURN false;
  END IF;
  UPDATE subject SET email = NULL, erased_at = clock_timestamp(), erased_by = source_key(client)
  WHERE subject.subject_key = person.subject_key;
  DELETE FROM current_choice AS c USING consent AS k
  WHERE c.consent_key = k.consent_key AND c.subject_key = person.subject_key;
  -- Stored responses may contain the user's data. They expire after a day, so searching all of them is fast enough.
  DELETE FROM idempotency_key AS i
  WHERE strpos(i.body, person.id::text) > 0 OR strpos(fold_email(i.body), person.email_key) > 0;
  RETURN true;
END
$$;
COMMENT ON FUNCTION pmp.erase_user IS
  'GDPR Art. 17: removes the address; the pseudonymous events remain as proof. true: done; false: already erased; '
  'NULL: unknown user.';
GRANT EXECUTE ON FUNCTION pmp.erase_user TO pmp_app;
COMMIT;
