-- Deploy pmp:define_imports to pg
--
-- The set-based half of an import. A batch arrives as arrays, one element per line, rather than by COPY into a staging
-- table: it is as fast (docs/adr/0202), without a table that must be truncated, bloats or is shared between jobs.
BEGIN;
CREATE FUNCTION pmp.changes_answer(
  enabled boolean, counts_at timestamptz, granted_at timestamptz, denied_at timestamptz
) RETURNS boolean
-- Without a FROM, so that it is inlined.
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN granted_at IS NULL AND denied_at IS NULL THEN true
    -- At the same instant a denial wins.
    WHEN enabled THEN denied_at >= coalesce(granted_at, '-infinity') AND counts_at > denied_at
    ELSE granted_at > coalesce(denied_at, '-infinity') AND counts_at >= granted_at
  END IS TRUE
$$;
COMMENT ON FUNCTION pmp.changes_answer IS
  'Whether a choice changes a person''s answer: it counts, and the answer before was another one, or there was none. '
  'granted_at, denied_at: when the latest grant and the latest denial count that were there before; NULL: none.';

CREATE FUNCTION pmp.conflicting_lines(
  line_numbers bigint[], event_ids uuid[], user_ids uuid[], emails text[], instants timestamptz[], versions text[],
  choices text[], chosen text[], named text[], contexts jsonb[], among bigint[]
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  conflicts jsonb;
BEGIN
  -- Whose event it was cannot be told after an erasure: then the rest is compared.
  EXECUTE $compare$
    SELECT coalesce(jsonb_agg(l.line), '[]')
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $11, $8, $9)
      AS l (line, event_id, user_id, email, told, versions, enabled, chosen, named, context)
    LEFT JOIN LATERAL (SELECT e AS event FROM event AS e WHERE e.id = l.event_id OFFSET 0) AS known ON true
    LEFT JOIN LATERAL (
      SELECT s.erased_at, coalesce(s.merged_into, s.subject_key) AS subject_key FROM subject AS s
      WHERE s.subject_key = (known.event).subject_key OFFSET 0
    ) AS owner ON true
    LEFT JOIN LATERAL (
      SELECT coalesce(s.merged_into, s.subject_key) AS subject_key FROM subject AS s WHERE s.id = l.user_id OFFSET 0
    ) AS by_id ON true
    LEFT JOIN LATERAL (
      SELECT coalesce(s.merged_into, s.subject_key) AS subject_key FROM subject AS s
      WHERE s.email_key = fold_email(l.email) OFFSET 0
    ) AS by_email ON true
    WHERE l.line = ANY ($10)
      AND NOT coalesce(is_same_event(
        known.event,
        CASE
          WHEN owner.subject_key IN (by_id.subject_key, by_email.subject_key)
            OR l.email IS NOT NULL AND owner.erased_at IS NOT NULL
          THEN (known.event).subject_key
        END,
        l.told, l.versions::integer[], l.enabled::boolean[], l.chosen, l.named::integer[]
      ) AND (known.event).has_context = (l.context IS NOT NULL) AND (
        l.context IS NULL OR owner.erased_at IS NOT NULL OR EXISTS (
          SELECT FROM event_context AS c
          WHERE c.subject_key = (known.event).subject_key AND c.sequence = (known.event).sequence AND c.context = l.context
        )
      ), false)
  $compare$ INTO conflicts
  USING line_numbers, event_ids, user_ids, emails, instants, versions, choices, named, contexts, among,
    chosen;
  RETURN conflicts;
END
$$;
COMMENT ON FUNCTION pmp.conflicting_lines IS
  'Those of the lines "among" whose event is recorded with other content: [line].';

CREATE FUNCTION pmp.merge_lines(
  source integer, declared_at timestamptz, line_numbers bigint[], event_ids uuid[], user_ids uuid[], emails text[],
  instants timestamptz[], fractions boolean[], versions text[], choices text[], chosen text[], named text[],
  contexts jsonb[], looks_first boolean
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp SET work_mem = '64MB' AS $$
DECLARE
  answer jsonb;
  existing jsonb := '[]';
  adds boolean[];
  new_users bigint := 0;
  -- Once, not for each row.
  number bigint := transaction_number();
  by_id boolean := array_remove(user_ids, NULL) <> '{}';
  by_email boolean := array_remove(emails, NULL) <> '{}';
BEGIN
  -- All statements below are planned for each batch (EXECUTE): the right plan for an empty table is wrong a million rows
  -- later. LATERAL, kept by OFFSET 0: one index lookup per line costs the same for any number of users, whereas the
  -- planner would read and hash all users for each batch.
  IF looks_first THEN
    -- Of the lines with the same event id, the first one of a known user or with an address is added.
    EXECUTE $look$
      SELECT array_agg(l.can_add AND l.nth = 1 ORDER BY l.place)
      FROM (
        SELECT l.place, l.can_add, row_number() OVER (PARTITION BY l.event_id, l.can_add ORDER BY l.place) AS nth
        FROM (
          SELECT l.place, l.event_id, known.found IS NULL AND (l.user_id IS NULL OR person.found) IS TRUE AS can_add
          FROM unnest($1, $2) WITH ORDINALITY AS l (event_id, user_id, place)
          LEFT JOIN LATERAL (SELECT true AS found FROM event AS e WHERE e.id = l.event_id OFFSET 0) AS known ON true
          LEFT JOIN LATERAL (
            SELECT true AS found FROM subject AS s WHERE s.id = l.user_id AND s.erased_at IS NULL OFFSET 0
          ) AS person ON true
        ) AS l
      ) AS l
    $look$ INTO adds USING event_ids, user_ids;
  END IF;

  -- A line that adds no event makes no user.
  IF by_email THEN
    INSERT INTO subject (id, email, created_by, transaction_number)
    SELECT gen_random_uuid(), new.email, source, number
    FROM (
      SELECT DISTINCT ON (fold_email(l.email)) l.email, fold_email(l.email) AS email_key
      FROM unnest(emails, adds) WITH ORDINALITY AS l (email, adds, place)
      WHERE l.email IS NOT NULL AND l.adds IS NOT FALSE
      ORDER BY fold_email(l.email), l.place
    ) AS new
    WHERE NOT EXISTS (SELECT FROM subject AS s WHERE s.email_key = new.email_key)
    ORDER BY new.email_key
    ON CONFLICT (email_key) DO NOTHING;
    GET DIAGNOSTICS new_users = ROW_COUNT;
  END IF;

  -- One statement, one snapshot: each line is inserted, a duplicate or refused, regardless of concurrent writes.
  EXECUTE format($merge$
    WITH resolved AS MATERIALIZED (
      SELECT l.*, %s
      FROM (
        SELECT * FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $14, $15)
          AS l (line, event_id, user_id, email, told, has_fraction, versions, enabled, adds, context, chosen)
        %s
      ) AS l
      %s
    ), inserted AS (
      INSERT INTO event (
        transaction_number, id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, has_context,
        versions, enabled, chosen
      )
      SELECT
        $13, r.event_id, r.subject_key, coalesce(r.told, $12), $11, $1,
        r.told IS NOT NULL, r.has_fraction, r.context IS NOT NULL, r.versions::integer[], r.enabled::boolean[],
        coalesce(r.chosen, '')
      FROM resolved AS r
      WHERE r.subject_key IS NOT NULL AND r.erased_at IS NULL %s
      -- Insert in index order, and a user's events in the order of their lines.
      ORDER BY r.subject_key, r.line
      RETURNING id, subject_key, occurred_at, has_fraction, sequence, versions, enabled, chosen
    %s), choice AS MATERIALIZED (
      SELECT
        c.*,
        greatest(
          max(c.counts_at) FILTER (WHERE c.enabled) OVER earlier, CASE WHEN known.enabled THEN known.counts_at END
        ) AS granted_at,
        greatest(
          max(c.counts_at) FILTER (WHERE NOT c.enabled) OVER earlier, CASE WHEN NOT known.enabled THEN known.counts_at END
        ) AS denied_at,
        ((c.counts_at, NOT c.enabled, c.sequence) > (known.counts_at, NOT known.enabled, known.sequence)) IS NOT FALSE
          AS is_newer
      FROM (
        SELECT
          c.subject_key, v.consent_key, v.version_key, c.sequence, c.enabled, c.value,
          counts_at(c.occurred_at, $11, c.has_fraction, c.enabled) AS counts_at
        FROM (
          SELECT
            i.subject_key, i.occurred_at, i.has_fraction, i.sequence,
            unnest(i.versions) AS version_key, unnest(i.enabled) AS enabled, unnest(chosen_values(i.chosen)) AS value
          FROM inserted AS i
        ) AS c
        JOIN consent_version AS v USING (version_key)
      ) AS c
      LEFT JOIN LATERAL (
        SELECT k.counts_at, k.enabled, k.sequence FROM current_choice AS k
        WHERE k.consent_key = c.consent_key AND k.subject_key = c.subject_key OFFSET 0
      ) AS known ON true
      WINDOW earlier AS (
        PARTITION BY c.consent_key, c.subject_key ORDER BY c.sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      )
    ), folded AS (
      SELECT DISTINCT ON (c.consent_key, c.subject_key)
        c.subject_key, c.consent_key, c.version_key, c.counts_at, c.sequence, c.enabled, c.value
      FROM choice AS c
      -- A current choice only ever gives way to a newer one. An upsert that changes nothing would lock its row, and log it.
      WHERE c.is_newer
      -- The order also prevents deadlocks between two writers.
      ORDER BY c.consent_key, c.subject_key, c.counts_at DESC, c.enabled, c.sequence DESC
    ), projected AS (
      INSERT INTO current_choice AS c (subject_key, consent_key, version_key, counts_at, sequence, enabled, value)
      SELECT f.subject_key, f.consent_key, f.version_key, f.counts_at, f.sequence, f.enabled, f.value FROM folded AS f
      ON CONFLICT (consent_key, subject_key) DO UPDATE
      SET version_key = excluded.version_key, counts_at = excluded.counts_at,
          sequence = excluded.sequence, enabled = excluded.enabled, value = excluded.value
      WHERE (excluded.counts_at, NOT excluded.enabled, excluded.sequence)
        > (c.counts_at, NOT c.enabled, c.sequence)
    )
    SELECT jsonb_build_object(
      'accepted', (SELECT count(*) FROM inserted),
      'unknown', (SELECT coalesce(jsonb_agg(r.line), '[]') FROM resolved AS r WHERE r.subject_key IS NULL %s),
      'erased', (SELECT coalesce(jsonb_agg(r.line), '[]') FROM resolved AS r WHERE r.erased_at IS NOT NULL)
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
    $merge$,
    CASE
      WHEN by_id AND by_email THEN
        'coalesce(by_id.subject_key, by_email.subject_key) AS subject_key, by_id.erased_at'
      WHEN by_id THEN 'by_id.subject_key, by_id.erased_at'
      ELSE 'by_email.subject_key, by_email.erased_at'
    END,
    -- Look up in index order.
    CASE WHEN by_id THEN 'ORDER BY l.user_id' ELSE '' END,
    CASE WHEN by_id THEN 'LEFT JOIN LATERAL ('
      'SELECT coalesce(s.merged_into, s.subject_key) AS subject_key, s.erased_at FROM subject AS s '
      'WHERE s.id = l.user_id OFFSET 0) AS by_id ON true ' ELSE '' END
    || CASE WHEN by_email THEN 'LEFT JOIN LATERAL ('
      'SELECT coalesce(s.merged_into, s.subject_key) AS subject_key, s.erased_at FROM subject AS s '
      'WHERE s.email_key = fold_email(l.email) OFFSET 0'
      ') AS by_email ON true' ELSE '' END,
    -- A lookup costs less than a speculative insertion (ON CONFLICT).
    CASE WHEN looks_first THEN 'AND r.adds' ELSE '' END,
    CASE WHEN contexts = '{}' THEN '' ELSE '), kept AS ('
      'INSERT INTO event_context (subject_key, sequence, context) SELECT i.subject_key, i.sequence, r.context '
      'FROM inserted AS i JOIN resolved AS r ON r.event_id = i.id WHERE r.context IS NOT NULL AND r.adds IS NOT FALSE'
    END,
    -- Every address has a user, except on a line that adds no event.
    CASE WHEN looks_first THEN 'AND r.user_id IS NOT NULL' ELSE '' END
  ) INTO answer
  -- Received now, not when the statement began: it may have waited for another batch or for an erasure.
  USING source, line_numbers, event_ids, user_ids, emails, instants, fractions, versions, choices, adds,
    clock_timestamp(), declared_at, number, contexts, chosen;

  IF looks_first THEN
    -- A new statement, which sees the events of this batch.
    existing := conflicting_lines(
      line_numbers, event_ids, user_ids, emails, instants, versions, choices, chosen, named, contexts, ARRAY(
        SELECT l.line FROM unnest(line_numbers, adds) AS l (line, adds) WHERE NOT l.adds
        EXCEPT SELECT jsonb_array_elements_text((answer -> 'unknown') || (answer -> 'erased'))::bigint
      )
    );
  END IF;
  RETURN answer || jsonb_build_object('existing', existing, 'new_users', new_users);
END
$$;
COMMENT ON FUNCTION pmp.merge_lines IS
  'Add lines as events and project them: {"accepted", "unknown": [line], "erased": [line], "existing": [line], '
  '"new_users", and of the choices "opted_in", "opted_out", "unchanged"}. Lines without an instant happened at '
  'declared_at. If looks_first, a line whose event exists, or is on an earlier line, is skipped if its content is the same, and otherwise existing; else both are a unique_violation.';

CREATE FUNCTION pmp.erased_lines(
  declared_at timestamptz, line_numbers bigint[], emails text[], address_hashes bytea, instants timestamptz[]
) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  IF array_remove(emails, NULL) = '{}' OR NOT EXISTS (SELECT FROM erasure) THEN
    RETURN '{}';
  END IF;
  IF length(address_hashes) <> 32 * cardinality(line_numbers) THEN
    RAISE EXCEPTION 'address_hashes has % bytes for % lines', length(address_hashes), cardinality(line_numbers)
      USING ERRCODE = 'assert_failure';
  END IF;
  RETURN ARRAY(
    SELECT l.line
    FROM unnest(line_numbers, emails, instants) WITH ORDINALITY AS l (line, email, told, place)
    CROSS JOIN LATERAL (
      SELECT max(e.erased_at) AS erased_at FROM erasure AS e
      WHERE e.address_hash = substr(address_hashes, (32 * (l.place - 1) + 1)::integer, 32) OFFSET 0
    ) AS last
    WHERE l.email IS NOT NULL AND last.erased_at IS NOT NULL
      AND coalesce(l.told, declared_at) <= last.erased_at
  );
END
$$;
COMMENT ON FUNCTION pmp.erased_lines IS
  'The lines that would bring an erased person back: their address was erased after the choice was made. address_hashes: '
  'the 32 bytes of each line''s address one after another (erasure.address_hash); any bytes for a line without address.';

CREATE FUNCTION pmp.removed_lines(line_numbers bigint[], event_ids uuid[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM removed_event) THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(
    SELECT l.line FROM unnest(line_numbers, event_ids) AS l (line, event_id)
    CROSS JOIN LATERAL (SELECT FROM removed_event AS r WHERE r.id = l.event_id OFFSET 0) AS found
  );
END
$$;
COMMENT ON FUNCTION pmp.removed_lines IS 'The lines whose event was recorded before, and has left: see removed_event.';

CREATE FUNCTION pmp.add_reasons(known jsonb, codes text[], refused jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT jsonb_object_agg(r.code, r.lines) FROM (
      SELECT code, sum(lines) AS lines FROM (
        SELECT key AS code, value::bigint AS lines FROM jsonb_each(known)
        UNION ALL SELECT code, 1 FROM unnest(codes) AS code
        UNION ALL SELECT line ->> 1, 1 FROM jsonb_array_elements(refused) AS line
      ) AS each GROUP BY code
    ) AS r
  );
END
$$;
COMMENT ON FUNCTION pmp.add_reasons IS
  'Numbers of rejected lines by code, with those of a batch added: codes, and the second elements of refused.';

CREATE FUNCTION pmp.suppress_lines(
  job pmp.import_job, line_numbers bigint[], event_ids uuid[], user_ids uuid[], digests bytea, instants timestamptz[],
  fractions boolean[], versions text[], choices text[], removed bigint[]
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  answer jsonb;
BEGIN
  EXECUTE $suppress$
    WITH resolved AS MATERIALIZED (
      SELECT
        l.*,
        l.nth > 1 OR known.id IS NOT NULL OR tried.id IS NOT NULL OR recorded.id IS NOT NULL OR l.line = ANY ($13) AS is_known,
        recorded.is_open OR known.is_other OR tried.is_other AS is_conflict
      FROM (
        SELECT
          l.*, coalesce(l.told, $9) AS occurred_at, row_number() OVER (PARTITION BY l.event_id ORDER BY l.place) AS nth
        FROM (
          SELECT l.*, substr($4, (32 * (l.place - 1) + 1)::integer, 32) AS digest
          FROM unnest($1, $2, $3, $5, $6, $7, $8) WITH ORDINALITY
            AS l (line, event_id, user_id, told, has_fraction, versions, enabled, place)
          WHERE l.user_id IS NULL
        ) AS l
      ) AS l
      LEFT JOIN LATERAL (
        SELECT p.id, (p.address_digest, p.occurred_at, p.versions, p.enabled)
          IS DISTINCT FROM (l.digest, l.occurred_at, l.versions::integer[], l.enabled::boolean[]) AS is_other
        FROM suppression AS p WHERE p.id = l.event_id OFFSET 0
      ) AS known ON true
      LEFT JOIN LATERAL (
        SELECT t.id, (t.person, coalesce(t.told, $9), t.versions, t.enabled)
          IS DISTINCT FROM (l.digest, l.occurred_at, l.versions::integer[], l.enabled::boolean[]) AS is_other
        FROM trial_event AS t WHERE t.import_id = $10 AND t.id = l.event_id OFFSET 0
      ) AS tried ON true
      LEFT JOIN LATERAL (
        -- Of an erased user, the event may be this one.
        SELECT e.id, s.erased_at IS NULL AS is_open FROM event AS e JOIN subject AS s USING (subject_key)
        WHERE e.id = l.event_id OFFSET 0
      ) AS recorded ON true
    ), kept AS (
      INSERT INTO suppression (
        id, address_digest, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled
      )
      SELECT
        r.event_id, r.digest, r.occurred_at, clock_timestamp(), $11, r.told IS NOT NULL, r.has_fraction,
        r.versions::integer[], r.enabled::boolean[]
      FROM resolved AS r WHERE NOT r.is_known AND NOT $12
    ), tried AS (
      -- A denial has no values.
      INSERT INTO trial_event (import_id, id, person, told, versions, enabled, chosen)
      SELECT $10, r.event_id, r.digest, r.told, r.versions::integer[], r.enabled::boolean[], ''
      FROM resolved AS r WHERE NOT r.is_known AND $12
    )
    SELECT jsonb_build_object(
      'accepted', count(*) FILTER (WHERE NOT r.is_known), 'lines', coalesce(jsonb_agg(r.line), '[]'),
      'existing', coalesce(jsonb_agg(r.line) FILTER (WHERE r.is_conflict), '[]')
    )
    FROM resolved AS r
  $suppress$ INTO answer
  USING line_numbers, event_ids, user_ids, digests, instants, fractions, versions, choices, job.occurred_at::timestamptz,
    job.id, CASE WHEN NOT job.dry_run THEN source_key(NULL, job.id) END, job.dry_run, removed;
  RETURN answer;
END
$$;
COMMENT ON FUNCTION pmp.suppress_lines IS
  'Keep the denials of hashes that no user has (user_ids NULL) until there is one: {"accepted", "lines": all of them, '
  '"existing": [line]: their id is known with other content}. A dry run keeps them in trial_event. digests: 32 bytes '
  'for each line; removed: lines to pass over, see removed_lines.';

CREATE FUNCTION pmp.import_batch(
  job_id uuid, owner uuid, seconds integer, from_line bigint, up_to_line bigint, up_to_position bigint,
  up_to_position_line bigint, up_to_byte bigint,
  line_numbers bigint[], event_ids uuid[], user_ids uuid[], emails text[], instants timestamptz[],
  fractions boolean[], versions text[], choices text[], chosen text[], named text[], contexts jsonb[],
  has_repeats boolean, bad_codes text[], address_hashes bytea
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  job import_job;
  merged jsonb := '{"accepted": 0, "unknown": [], "erased": [], "existing": [], "new_users": 0, "opted_in": 0,'
    ' "opted_out": 0, "unchanged": 0}';
  looks_first boolean;
  collisions integer := 0;
  refused jsonb;
  found integer := cardinality(bad_codes);
  total integer := cardinality(line_numbers) + cardinality(bad_codes);
  erased bigint[];
  -- Before the first look at what has left: whoever finds the same number later has missed nothing.
  removals bigint := (SELECT r.removed FROM retention AS r);
  removed bigint[] := removed_lines(line_numbers, event_ids);
  passed bigint[];
  suppressed jsonb := '{"accepted": 0, "lines": [], "existing": []}';
BEGIN
  -- Until the end of the transaction, no other worker advances this job.
  SELECT * INTO job FROM import_job AS j WHERE j.id = job_id FOR NO KEY UPDATE;
  IF job.state IS DISTINCT FROM 'running' OR job.lease_owner IS DISTINCT FROM owner THEN
    RETURN jsonb_build_object('state', CASE WHEN job.state = 'running' THEN 'taken' ELSE job.state END);
  END IF;

  IF job.line >= up_to_line THEN
    -- The worker lost the response to a committed batch and sent it again.
    RETURN jsonb_build_object('state', 'running', 'rejected', job.rejected, 'refused', '[]'::jsonb);
  ELSIF job.line <> from_line THEN
    -- The server lost committed batches: it was restored, or it replaced a server that was ahead of it.
    RETURN '{"state": "behind"}';
  END IF;

  -- The events of this batch are there for the erasures that come later, and the hashes of the earlier ones for it.
  PERFORM pg_advisory_xact_lock_shared(erasure_lock());
  erased := erased_lines(job.occurred_at::timestamptz, line_numbers, emails, address_hashes, instants);
  removed := ARRAY(SELECT unnest(removed) EXCEPT SELECT unnest(erased));
  passed := erased || removed;
  IF job.mapping -> 'user' ? 'email_sha256' AND line_numbers <> '{}' THEN
    PERFORM pg_advisory_xact_lock(suppression_lock());
    SELECT array_agg(s.id ORDER BY l.place) INTO user_ids
    FROM generate_series(1, cardinality(line_numbers)) AS l (place)
    LEFT JOIN LATERAL (
      SELECT s.id FROM subject AS s
      WHERE address_digest(s.email_key) = substr(address_hashes, 32 * (l.place - 1) + 1, 32) AND s.email_key IS NOT NULL
      OFFSET 0
    ) AS s ON true;
    suppressed := suppress_lines(
      job, line_numbers, event_ids, user_ids, address_hashes, instants, fractions, versions, choices, removed
    );
    passed := removed || ARRAY(SELECT jsonb_array_elements_text(suppressed -> 'lines')::bigint);
  END IF;
  -- The events of a file are usually new. Until one is not, the unique index detects duplicates on insertion, which
  -- saves a lookup for each event.
  looks_first := has_repeats OR job.skipped > 0;
  LOOP
    IF passed <> '{}' AND NOT job.dry_run THEN
      SELECT
        coalesce(array_agg(l.line ORDER BY l.place), '{}'), array_agg(l.event_id ORDER BY l.place),
        coalesce(array_agg(l.user_id ORDER BY l.place), '{}'), coalesce(array_agg(l.email ORDER BY l.place), '{}'),
        array_agg(l.told ORDER BY l.place), array_agg(l.fraction ORDER BY l.place), array_agg(l.version ORDER BY l.place),
        array_agg(l.choice ORDER BY l.place), array_agg(l.name ORDER BY l.place),
        CASE WHEN contexts = '{}' THEN contexts ELSE array_agg(l.context ORDER BY l.place) END,
        CASE WHEN chosen = '{}' THEN chosen ELSE array_agg(l.value ORDER BY l.place) END
      INTO line_numbers, event_ids, user_ids, emails, instants, fractions, versions, choices, named, contexts, chosen
      FROM unnest(
        line_numbers, event_ids, user_ids, emails, instants, fractions, versions, choices, named, contexts, chosen
      ) WITH ORDINALITY
        AS l (line, event_id, user_id, email, told, fraction, version, choice, name, context, value, place)
      WHERE l.line <> ALL (passed);
    END IF;
    EXIT WHEN line_numbers = '{}';
    BEGIN
      IF job.dry_run THEN
        merged := try_lines(
          job_id, job.occurred_at::timestamptz, line_numbers, event_ids, user_ids, emails, address_hashes, instants,
          fractions, versions, choices, chosen, named, contexts, passed
        );
        EXIT;
      END IF;
      merged := merge_lines(
        source_key(NULL, job_id), job.occurred_at::timestamptz, line_numbers, event_ids, user_ids, emails, instants,
        fractions, versions, choices, chosen, named, contexts, looks_first
      );
      IF removals <> (SELECT r.removed FROM retention AS r) AND removed_lines(line_numbers, event_ids) <> '{}' THEN
        RAISE unique_violation USING MESSAGE = 'an event of this batch has left meanwhile';
      END IF;
      EXIT;
    EXCEPTION
      WHEN unique_violation THEN
        -- One of these events already exists, or another import added it after the lookup, or it has left since. The
        -- retry handles all.
        collisions := collisions + 1;
        IF collisions > 5 THEN
          RAISE;
        END IF;
        looks_first := true;
        SELECT r.removed INTO removals FROM retention AS r;
        passed := removed_lines(line_numbers, event_ids);
        removed := removed || passed;
    END;
  END LOOP;

  merged := merged || jsonb_build_object(
    'accepted', (merged ->> 'accepted')::bigint + (suppressed ->> 'accepted')::bigint,
    'existing', (merged -> 'existing') || (suppressed -> 'existing')
  );

  SELECT coalesce(jsonb_agg(jsonb_build_array(r.line, r.code, r.pointer, r.detail) ORDER BY r.line), '[]') INTO refused
  FROM (
    SELECT line::bigint, 'unknown_user' AS code, '/user/id' AS pointer, 'no user has this id' AS detail
    FROM jsonb_array_elements(merged -> 'unknown') AS line
    UNION ALL
    SELECT line::bigint, 'erased_user', '/user/id', 'this user was erased'
    FROM jsonb_array_elements(merged -> 'erased') AS line
    UNION ALL
    SELECT line, 'erased_user', '/user/email', 'the user with this address was erased after this choice'
    FROM unnest(erased) AS line
    UNION ALL
    SELECT line, 'event_removed', '/id', 'an event with this id was recorded, and has left after its retention; use a new id for a new event'
    FROM unnest(removed) AS line
    UNION ALL
    SELECT line::bigint, 'event_conflict', '/id', 'another event has this id; use a new id for a new event'
    FROM jsonb_array_elements(merged -> 'existing') AS line
  ) AS r;
  found := found + jsonb_array_length(refused);

  UPDATE import_job AS j
  SET
    lines = j.lines + total,
    accepted = j.accepted + (merged ->> 'accepted')::bigint,
    rejected = j.rejected + found,
    skipped = j.skipped + total - (merged ->> 'accepted')::bigint - found,
    opted_in = j.opted_in + (merged ->> 'opted_in')::bigint,
    opted_out = j.opted_out + (merged ->> 'opted_out')::bigint,
    unchanged = j.unchanged + (merged ->> 'unchanged')::bigint,
    new_users = j.new_users + (merged ->> 'new_users')::bigint,
    reasons = CASE WHEN found = 0 THEN j.reasons ELSE add_reasons(j.reasons, bad_codes, refused) END,
    stalled = 0,
    line = up_to_line, position = up_to_position, position_line = up_to_position_line, bytes_read = up_to_byte,
    lease_until = clock_timestamp() + seconds * interval '1 second'
  WHERE j.id = job_id
  RETURNING * INTO job;
  RETURN jsonb_build_object('state', 'running', 'rejected', job.rejected, 'refused', refused);
END
$$;
COMMENT ON FUNCTION pmp.import_batch IS
  'Merge one batch of an import, the lines after from_line up to up_to_line, and record its progress, in one transaction. '
  'up_to_position: where the next invocation begins to read, after line up_to_position_line. In user_ids and emails, one of the two is '
  'NULL at each position. instants: NULL: not told; fractions: whether the instant has a fraction of a second. versions, '
  'choices, chosen (event.chosen) and named (keys of the versions that the line names, or NULL): array literals, since PostgreSQL has no arrays '
  'of arrays of different lengths. chosen, contexts: {} if no line has a value or a context. address_hashes: see erased_lines. bad_codes: of further lines, which were rejected before; they are '
  'counted. {"state": "running", "rejected": of the whole job, "refused": [[line, code, pointer, detail]]: lines of the '
  'batch that are rejected here}; any other state (cancelled, taken, …): nothing was done, stop.';

CREATE FUNCTION pmp.analyze_grown() RETURNS void
-- Only its owner may analyze a table.
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pmp, pg_temp AS $$
DECLARE
  grown regclass;
BEGIN
  FOR grown IN
    SELECT c.oid FROM pg_class AS c
    WHERE c.oid IN ('subject'::regclass, 'event'::regclass, 'current_choice'::regclass)
      -- A plan for a table of this size no longer scans it.
      AND c.relpages < 2000
      AND pg_relation_size(c.oid) > (2 * c.relpages + 16) * current_setting('block_size')::bigint
  LOOP
    EXECUTE format('ANALYZE (SKIP_LOCKED) %s', grown);
  END LOOP;
END
$$;
COMMENT ON FUNCTION pmp.analyze_grown IS
  'Analyze the tables of the record that are small and have doubled since they were analyzed. Pooled sessions keep plans; one that '
  'was made for a few pages may scan the table, and each read would take longer with each batch of an import, until '
  'autovacuum comes by. ANALYZE makes all sessions plan again.';

GRANT EXECUTE ON FUNCTION pmp.import_batch TO pmp_app;
GRANT EXECUTE ON FUNCTION pmp.analyze_grown TO pmp_app;
COMMIT;
