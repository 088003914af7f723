-- Revert pmp:define_erasure from pg
BEGIN;
DROP FUNCTION pmp.lookup_user, pmp.replay_erasure, pmp.erase_user, pmp.prepare_erasure;
COMMIT;
