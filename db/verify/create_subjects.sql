-- Verify pmp:create_subjects on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by, transaction_number)
VALUES ('00000000-0000-4000-8000-000000000001', 'Verify@Éxample.invalid', pmp.source_key('verify'), 1);
SELECT 1 / (email_key = 'verify@éxample.invalid' AND email_key = pmp.fold_email(email))::int
FROM pmp.subject WHERE id = '00000000-0000-4000-8000-000000000001';
DO $$
BEGIN
  INSERT INTO pmp.subject (id, email, created_by, transaction_number)
  VALUES ('00000000-0000-4000-8000-000000000002', 'vERIFY@éXAMPLE.INVALID', pmp.source_key('verify'), 1);
  RAISE EXCEPTION 'the same address was accepted twice';
EXCEPTION WHEN unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  DELETE FROM pmp.subject;
  RAISE EXCEPTION 'subject accepts DELETE';
EXCEPTION WHEN restrict_violation THEN NULL;
END
$$;
SELECT 1 / (NOT has_column_privilege('pmp_readonly', 'pmp.subject', 'email', 'SELECT'))::int;
ROLLBACK;
