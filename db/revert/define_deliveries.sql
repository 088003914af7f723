-- Revert pmp:define_deliveries from pg
BEGIN;
DROP FUNCTION pmp.list_deliveries, pmp.told_of, pmp.postpone_delivery, pmp.end_delivery, pmp.begin_delivery,
  pmp.told_notices, pmp.told_events, pmp.claim_lanes, pmp.is_prompt, pmp.current_place;
COMMIT;
