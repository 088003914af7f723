-- Deploy pmp:define_trials to pg
--
-- The dry run of a batch: what merge_lines would answer, without a write to the record and without its locks.
BEGIN;
CREATE FUNCTION pmp.try_lines(
  job_id uuid, declared_at timestamptz, line_numbers bigint[], event_ids uuid[], user_ids uuid[], emails text[],
  address_hashes bytea, instants timestamptz[], fractions boolean[], versions text[], choices text[], chosen text[],
  named text[], contexts jsonb[], passed bigint[]
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pmp, pg_temp SET work_mem = '64MB' AS $$
DECLARE
  answer jsonb;
  existing jsonb := '[]';
  compared jsonb;
BEGIN
  -- Planned for each batch, with one index lookup per line, for the reasons that merge_lines gives.
  EXECUTE $try$
    WITH resolved AS MATERIALIZED (
      SELECT
        l.*, by_id.erased_at, coalesce(int8send(coalesce(by_id.subject_key, by_email.subject_key)), l.hash) AS person,
        coalesce(by_id.subject_key, by_email.subject_key) AS subject_key,
        known.found IS NULL AND tried.found IS NULL
          AND (l.user_id IS NULL OR by_id.subject_key IS NOT NULL AND by_id.erased_at IS NULL) AS can_add
      FROM (
        SELECT l.*, CASE WHEN l.email IS NOT NULL THEN substr($5, (32 * (l.place - 1) + 1)::integer, 32) END AS hash
        FROM unnest($1, $2, $3, $4, $6, $7, $8, $9, $14, $15) WITH ORDINALITY
          AS l (line, event_id, user_id, email, told, has_fraction, versions, enabled, context, chosen, place)
        WHERE l.line <> ALL ($10)
      ) AS l
      LEFT JOIN LATERAL (
        SELECT coalesce(s.merged_into, s.subject_key) AS subject_key, s.erased_at FROM subject AS s
        WHERE s.id = l.user_id OFFSET 0
      ) AS by_id ON true
      LEFT JOIN LATERAL (
        SELECT coalesce(s.merged_into, s.subject_key) AS subject_key FROM subject AS s
        WHERE s.email_key = fold_email(l.email) OFFSET 0
      ) AS by_email ON true
      LEFT JOIN LATERAL (SELECT true AS found FROM event AS e WHERE e.id = l.event_id OFFSET 0) AS known ON true
      LEFT JOIN LATERAL (
        SELECT true AS found FROM trial_event AS t WHERE t.import_id = $11 AND t.id = l.event_id OFFSET 0
      ) AS tried ON true
    ), accepted AS MATERIALIZED (
      SELECT * FROM (
        SELECT r.*, row_number() OVER (PARTITION BY r.event_id, r.can_add ORDER BY r.place) AS nth FROM resolved AS r
      ) AS r
      WHERE r.can_add AND r.nth = 1
    ), inserted AS (
      INSERT INTO trial_event (import_id, id, person, told, versions, enabled, context_digest, chosen)
      SELECT
        $11, a.event_id, a.person, a.told, a.versions::integer[], a.enabled::boolean[], context_digest(a.context),
        coalesce(a.chosen, '')
      FROM accepted AS a
      ORDER BY a.event_id
    ), choice AS MATERIALIZED (
      SELECT
        c.*,
        greatest(
          max(c.counts_at) FILTER (WHERE c.enabled) OVER earlier, CASE WHEN c.known_enabled THEN c.known_at END
        ) AS granted_at,
        greatest(
          max(c.counts_at) FILTER (WHERE NOT c.enabled) OVER earlier, CASE WHEN NOT c.known_enabled THEN c.known_at END
        ) AS denied_at
      FROM (
        SELECT
          c.*, coalesce(tried.counts_at, known.counts_at, suppressed.counts_at) AS known_at,
          coalesce(tried.enabled, known.enabled, CASE WHEN suppressed.counts_at IS NOT NULL THEN false END) AS known_enabled
        FROM (
          SELECT
            a.person, a.subject_key, a.email, a.line, v.consent_key, a.enabled,
            counts_at(coalesce(a.told, $12), $13, a.has_fraction, a.enabled) AS counts_at
          FROM (
            SELECT
              a.person, a.subject_key, a.email, a.line, a.told, a.has_fraction,
              unnest(a.versions::integer[]) AS version_key, unnest(a.enabled::boolean[]) AS enabled
            FROM accepted AS a
          ) AS a
          JOIN consent_version AS v USING (version_key)
        ) AS c
        LEFT JOIN LATERAL (
          SELECT t.counts_at, t.enabled FROM trial_choice AS t
          WHERE t.import_id = $11 AND t.person = c.person AND t.consent_key = c.consent_key OFFSET 0
        ) AS tried ON true
        LEFT JOIN LATERAL (
          SELECT k.counts_at, k.enabled FROM current_choice AS k
          WHERE k.consent_key = c.consent_key AND k.subject_key = c.subject_key OFFSET 0
        ) AS known ON true
        LEFT JOIN LATERAL (
          -- A new user would get these denials first. No subject: neither tried nor known finds any.
          SELECT max(counts_at(p.occurred_at, p.received_at, p.has_fraction, false)) AS counts_at
          FROM suppression AS p CROSS JOIN LATERAL unnest(p.versions) AS denied (version_key)
          JOIN consent_version AS v USING (version_key)
          WHERE c.subject_key IS NULL AND p.address_digest = address_digest(fold_email(c.email))
            AND v.consent_key = c.consent_key OFFSET 0
        ) AS suppressed ON true
      ) AS c
      WINDOW earlier AS (
        PARTITION BY c.consent_key, c.person ORDER BY c.line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      )
    ), counted AS (
      INSERT INTO trial_choice AS t (import_id, person, consent_key, counts_at, enabled)
      SELECT
        $11, f.person, f.consent_key,
        CASE WHEN f.counts THEN f.counts_at ELSE f.known_at END, CASE WHEN f.counts THEN f.enabled ELSE f.known_enabled END
      FROM (
        SELECT DISTINCT ON (c.person, c.consent_key)
          c.*, ((c.counts_at, NOT c.enabled) < (c.known_at, NOT c.known_enabled)) IS NOT TRUE AS counts
        FROM choice AS c
        ORDER BY c.person, c.consent_key, c.counts_at DESC, c.enabled, c.line DESC
      ) AS f
      ON CONFLICT (import_id, person, consent_key) DO UPDATE
      SET counts_at = excluded.counts_at, enabled = excluded.enabled
    )
    SELECT jsonb_build_object(
      'accepted', (SELECT count(*) FROM accepted),
      -- A person of an earlier line has a choice there. This statement does not see its own rows.
      'new_users', (
        SELECT count(DISTINCT a.hash) FROM accepted AS a
        WHERE a.subject_key IS NULL
          AND NOT EXISTS (SELECT FROM trial_choice AS t WHERE t.import_id = $11 AND t.person = a.hash)
      ),
      'unknown', (
        SELECT coalesce(jsonb_agg(r.line), '[]') FROM resolved AS r WHERE r.subject_key IS NULL AND r.user_id IS NOT NULL
      ),
      'erased', (SELECT coalesce(jsonb_agg(r.line), '[]') FROM resolved AS r WHERE r.erased_at IS NOT NULL),
      'others', (
        SELECT coalesce(jsonb_agg(r.line), '[]') FROM resolved AS r
        WHERE (r.user_id IS NULL OR r.subject_key IS NOT NULL AND r.erased_at IS NULL)
          AND r.line NOT IN (SELECT a.line FROM accepted AS a)
      )
    ) || (
      SELECT jsonb_build_object(
        'opted_in', count(*) FILTER (WHERE c.changes AND c.enabled),
        'opted_out', count(*) FILTER (WHERE c.changes AND NOT c.enabled),
        'unchanged', count(*) FILTER (WHERE NOT c.changes)
      )
      FROM (
        SELECT c.enabled, changes_answer(c.enabled, c.counts_at, c.granted_at, c.denied_at) AS changes FROM choice AS c
      ) AS c
    )
  $try$ INTO answer
  USING line_numbers, event_ids, user_ids, emails, address_hashes, instants, fractions, versions, choices, passed, job_id,
    declared_at, clock_timestamp(), contexts, chosen;

  IF answer -> 'others' <> '[]' THEN
    -- New statements, which see the events of this batch.
    EXECUTE $compare$
      SELECT jsonb_build_object(
        'recorded', coalesce(jsonb_agg(l.line) FILTER (WHERE tried.id IS NULL), '[]'),
        'existing', coalesce(jsonb_agg(l.line) FILTER (WHERE tried.id IS NOT NULL AND (NOT is_same_event(
          ROW (
            NULL, NULL, tried.id, 0, coalesce(tried.told, $10), NULL, NULL, tried.told IS NOT NULL, NULL, false,
            tried.versions, tried.enabled, tried.chosen
          )::event,
          -- An address may have got its user since.
          CASE WHEN tried.person IN (int8send(coalesce(by_id.subject_key, by_email.subject_key)), l.hash) THEN 0 END,
          l.told, l.versions::integer[], l.enabled::boolean[], l.chosen, l.named::integer[]
        ) IS TRUE OR tried.context_digest IS DISTINCT FROM context_digest(l.context))), '[]')
      )
      FROM (
        SELECT l.*, CASE WHEN l.email IS NOT NULL THEN substr($11, (32 * (l.place - 1) + 1)::integer, 32) END AS hash
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $13, $14) WITH ORDINALITY
          AS l (line, event_id, user_id, email, told, versions, enabled, named, context, chosen, place)
      ) AS l
      LEFT JOIN LATERAL (
        SELECT t.* FROM trial_event AS t WHERE t.import_id = $12 AND t.id = l.event_id OFFSET 0
      ) AS tried ON true
      LEFT JOIN LATERAL (
        SELECT coalesce(s.merged_into, s.subject_key) AS subject_key FROM subject AS s WHERE s.id = l.user_id OFFSET 0
      ) AS by_id ON true
      LEFT JOIN LATERAL (
        SELECT coalesce(s.merged_into, s.subject_key) AS subject_key FROM subject AS s
        WHERE s.email_key = fold_email(l.email) OFFSET 0
      ) AS by_email ON true
      WHERE l.line = ANY ($9)
    $compare$ INTO compared
    USING line_numbers, event_ids, user_ids, emails, instants, versions, choices, named,
      ARRAY(SELECT jsonb_array_elements_text(answer -> 'others')::bigint), declared_at, address_hashes, job_id, contexts,
      chosen;
    existing := (compared -> 'existing') || conflicting_lines(
      line_numbers, event_ids, user_ids, emails, instants, versions, choices, chosen, named, contexts,
      ARRAY(SELECT jsonb_array_elements_text(compared -> 'recorded')::bigint)
    );
  END IF;
  RETURN answer - 'others' || jsonb_build_object('existing', existing);
END
$$;
COMMENT ON FUNCTION pmp.try_lines IS
  'What merge_lines would answer if the lines accepted before by this dry run were recorded; they are in trial_event and '
  'trial_choice, to which these are added. passed: lines to pass over. address_hashes: see erased_lines.';
COMMIT;
