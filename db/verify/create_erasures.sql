-- Verify pmp:create_erasures on pg
BEGIN;
INSERT INTO pmp.erasure (user_id, address_hash, erased_at)
VALUES
  ('00000000-0000-4000-8000-000000000001', sha256('verify'), now()),
  ('00000000-0000-4000-8000-000000000001', sha256('former'), now());
DO $$
BEGIN
  INSERT INTO pmp.erasure (user_id, address_hash, erased_at)
  VALUES ('00000000-0000-4000-8000-000000000002', 'verify@example.invalid', now());
  RAISE EXCEPTION 'an address was accepted as a hash';
EXCEPTION WHEN check_violation THEN NULL;
END
$$;
SELECT 1 / has_table_privilege('pmp_app', 'pmp.erasure', 'SELECT')::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.erasure', 'INSERT'))::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.former_identifier', 'INSERT'))::int;
ROLLBACK;
