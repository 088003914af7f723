-- Deploy pmp:create_jobs to pg
BEGIN;
CREATE TABLE pmp.import_mapping (
  id         text PRIMARY KEY CHECK (id ~ '^[a-z0-9_]{1,63}$'),
  document   jsonb NOT NULL CHECK (jsonb_typeof(document) = 'object'),
  client     text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pmp.import_mapping IS
  'How the records of other systems become events. An import keeps a copy of the mapping that it began with.';
COMMENT ON COLUMN pmp.import_mapping.document IS 'As the API takes it (MappingBody in openapi.json).';
COMMENT ON COLUMN pmp.import_mapping.client IS 'The API client that stored it last.';
-- Two mappings for the same objects would be a choice by chance.
CREATE UNIQUE INDEX import_mapping_prefix ON pmp.import_mapping ((document ->> 'prefix'));

CREATE TABLE pmp.import_job (
  id              uuid PRIMARY KEY,
  state           text NOT NULL DEFAULT 'waiting'
    CHECK (state IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled')),
  format          text NOT NULL CHECK (format IN ('ndjson', 'csv')),
  compression     text NOT NULL CHECK (compression IN ('none', 'gzip')),
  dry_run         boolean NOT NULL DEFAULT false,
  max_rejected    bigint CHECK (max_rejected >= 0),
  file_name       text,
  uploader        text,
  expects_upload  boolean NOT NULL DEFAULT false,
  expected_bytes  bigint CHECK (expected_bytes >= 0),
  content_type    text,
  expected_sha256 text CHECK (expected_sha256 ~ '^[0-9a-f]{64}$'),
  client          text NOT NULL,
  cancelled_by    text,
  bucket          text NOT NULL,
  object_key      text NOT NULL,
  object_version  text,
  sha256          text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  occurred_at     text,
  created_at      timestamptz NOT NULL DEFAULT now(),
  started_at      timestamptz,
  finished_at     timestamptz,
  lease_owner     uuid,
  lease_until     timestamptz,
  attempts        integer NOT NULL DEFAULT 0,
  stalled         integer NOT NULL DEFAULT 0,
  last_error      text,
  position        bigint NOT NULL DEFAULT 0,
  position_line   bigint NOT NULL DEFAULT 0,
  line            bigint NOT NULL DEFAULT 0,
  lines           bigint NOT NULL DEFAULT 0,
  accepted        bigint NOT NULL DEFAULT 0,
  skipped         bigint NOT NULL DEFAULT 0,
  rejected        bigint NOT NULL DEFAULT 0,
  reasons         jsonb NOT NULL DEFAULT '{}',
  opted_in        bigint NOT NULL DEFAULT 0,
  opted_out       bigint NOT NULL DEFAULT 0,
  unchanged       bigint NOT NULL DEFAULT 0,
  new_users       bigint NOT NULL DEFAULT 0,
  bytes_read      bigint NOT NULL DEFAULT 0,
  bytes_total     bigint,
  form            jsonb,
  mapping         jsonb,
  rejects_kept    bigint NOT NULL DEFAULT 0,
  rejects_upload  jsonb,
  rejects_key     text,
  removed_at      timestamptz,
  rejects_removed_at timestamptz,
  error           text,
  parent_id       uuid REFERENCES pmp.import_job,
  parts           integer CHECK (parts > 0),
  CONSTRAINT import_job_is_part_or_sum CHECK (parts IS NULL OR (parent_id, object_version) IS NULL),
  CONSTRAINT import_job_adds_up CHECK (accepted + skipped + rejected = lines),
  CONSTRAINT import_job_finishes CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))),
  CONSTRAINT import_job_says_why CHECK ((state = 'failed') = (error IS NOT NULL))
);
COMMENT ON TABLE pmp.import_job IS
  'The import of one version of an object in the imports bucket. The counts, the position and the events of a batch '
  'are committed in one transaction.';
COMMENT ON COLUMN pmp.import_job.parent_id IS 'The import of several objects of which this one is a part.';
COMMENT ON COLUMN pmp.import_job.parts IS
  'Of an import of several objects: how many imports are its parts. Nobody works on it: it runs until all of them have '
  'ended, and their sums are its counts.';
COMMENT ON COLUMN pmp.import_job.max_rejected IS 'The import fails once more lines are rejected; NULL: no limit.';
COMMENT ON COLUMN pmp.import_job.file_name IS 'As the client named it; of a dropped object, the end of its key.';
COMMENT ON COLUMN pmp.import_job.expects_upload IS 'Announced by the API: it takes one upload at most.';
COMMENT ON COLUMN pmp.import_job.uploader IS 'The AWS principal of the upload, as S3 notified it.';
COMMENT ON COLUMN pmp.import_job.stalled IS 'Invocations that have begun since the job last got on.';
COMMENT ON COLUMN pmp.import_job.last_error IS 'Why the last invocation that failed did; the job may have got on since.';
COMMENT ON COLUMN pmp.import_job.reasons IS 'Rejected lines by code: {"invalid_email": 3}.';
COMMENT ON COLUMN pmp.import_job.opted_in IS
  'Accepted choices that changed a person''s answer to yes, when the lines are taken in their order; opted_out: to no; '
  'unchanged: the others.';
COMMENT ON COLUMN pmp.import_job.dry_run IS 'Nothing is recorded: the counts say what a real import would do.';
COMMENT ON COLUMN pmp.import_job.rejects_kept IS 'Rejected lines that are kept; there is a limit, beyond which they are counted.';
COMMENT ON COLUMN pmp.import_job.rejects_upload IS
  'The unfinished S3 upload of the rejects: {"upload_id", "etags": [of its parts]}.';
COMMENT ON COLUMN pmp.import_job.rejects_removed_at IS 'When the file of rejects was deleted.';
COMMENT ON COLUMN pmp.import_job.cancelled_by IS 'The API client that cancelled the import.';
COMMENT ON COLUMN pmp.import_job.object_version IS 'S3 version id, pinned at the first read; NULL before the upload.';
COMMENT ON COLUMN pmp.import_job.sha256 IS 'SHA-256 of the object in S3.';
COMMENT ON COLUMN pmp.import_job.occurred_at IS
  'RFC 3339, as the client declared it: when the lines without an instant happened; NULL: they are rejected.';
COMMENT ON COLUMN pmp.import_job.lease_owner IS 'The invocation that holds the job until lease_until.';
COMMENT ON COLUMN pmp.import_job.position IS
  'Offset in the uncompressed text, in UTF-8, at which the next invocation begins to read; lines up to "line" are done.';
COMMENT ON COLUMN pmp.import_job.position_line IS 'Number of the last line before position.';
COMMENT ON COLUMN pmp.import_job.form IS
  'What the file is by its content (pmp.imports.form.Form), so that each invocation reads it in the same way; NULL: it '
  'has not been examined.';
COMMENT ON COLUMN pmp.import_job.mapping IS
  'The mapping that reads the file, as it was when the job began; NULL: the file is in the own form of PMP.';
COMMENT ON COLUMN pmp.import_job.line IS 'Number of the last line processed, counting empty lines.';
COMMENT ON COLUMN pmp.import_job.lines IS 'Lines processed, not counting empty lines.';
COMMENT ON COLUMN pmp.import_job.removed_at IS 'When the upload was deleted; NULL: it is there, or never was.';
COMMENT ON COLUMN pmp.import_job.bytes_read IS 'Bytes of the object in S3 processed so far.';
-- Repeated notifications of an upload find the same job.
CREATE UNIQUE INDEX import_job_object ON pmp.import_job (bucket, object_key, object_version);
CREATE INDEX import_job_parts ON pmp.import_job (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX import_job_pages ON pmp.import_job (created_at, id);
CREATE INDEX import_job_open ON pmp.import_job (lease_until) WHERE state IN ('waiting', 'running');
-- Whose upload is still there: an erasure's answer names them, and housekeeping deletes them.
CREATE INDEX import_job_uploads ON pmp.import_job (finished_at, id) WHERE removed_at IS NULL AND object_version IS NOT NULL;
CREATE INDEX import_job_rejects ON pmp.import_job (finished_at, id) WHERE rejects_removed_at IS NULL AND rejects_kept > 0;

CREATE TABLE pmp.import_reject (
  import_id uuid NOT NULL REFERENCES pmp.import_job,
  line      bigint NOT NULL,
  code      text NOT NULL,
  pointer   text NOT NULL,
  detail    text NOT NULL,
  original  bytea,
  PRIMARY KEY (import_id, line)
);
COMMENT ON TABLE pmp.import_reject IS
  'Rejected lines of running imports, moved to S3 part by part: never more than a part and a batch of each import.';
COMMENT ON COLUMN pmp.import_reject.original IS 'The line; NULL: it was too long.';

CREATE TABLE pmp.export_job (
  id          uuid PRIMARY KEY,
  state       text NOT NULL DEFAULT 'waiting'
              CHECK (state IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled')),
  contents    text NOT NULL DEFAULT 'users' CHECK (contents IN ('users', 'choices', 'events')),
  format      text NOT NULL DEFAULT 'ndjson' CHECK (format IN ('ndjson', 'csv')),
  partitioned boolean NOT NULL DEFAULT false,
  consent     text,
  enabled     boolean,
  as_of       timestamptz,
  known_at    timestamptz,
  client      text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  started_at  timestamptz,
  finished_at timestamptz,
  lease_owner uuid,
  lease_until timestamptz,
  attempts    integer NOT NULL DEFAULT 0,
  stalled     integer NOT NULL DEFAULT 0,
  last_error  text,
  checkpoint  jsonb,
  users       bigint NOT NULL DEFAULT 0,
  lines       bigint NOT NULL DEFAULT 0,
  bytes       bigint NOT NULL DEFAULT 0,
  feed_number bigint NOT NULL DEFAULT 0,
  feed_sequence bigint NOT NULL DEFAULT 0,
  feed_horizon bigint NOT NULL DEFAULT 0,
  files       jsonb,
  schedule    text CHECK (schedule ~ '^[a-z][a-z0-9-]{0,31}$'),
  due_at      timestamptz,
  kept        interval GENERATED ALWAYS AS (
    CASE WHEN schedule IS NULL THEN interval '1 day' ELSE interval '7 days' END
  ) STORED,
  bucket      text NOT NULL,
  object_key  text NOT NULL,
  removed_at  timestamptz,
  deleted_by  text,
  error       text,
  CONSTRAINT export_job_is_due CHECK ((schedule IS NULL) = (due_at IS NULL)),
  CONSTRAINT export_job_filters CHECK ((consent IS NULL) = (enabled IS NULL)),
  CONSTRAINT export_job_finishes CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))),
  CONSTRAINT export_job_has_limits CHECK (contents = 'events' OR num_nulls(as_of, known_at) = 0),
  CONSTRAINT export_job_filters_state CHECK (consent IS NULL OR contents = 'users'),
  CONSTRAINT export_job_says_why CHECK ((state = 'failed') = (error IS NOT NULL))
);
COMMENT ON TABLE pmp.export_job IS 'Users, their choices or events as of an instant, written to S3.';
COMMENT ON COLUMN pmp.export_job.contents IS
  'users: one line for each user; choices, events: lines that an import reads again.';
COMMENT ON COLUMN pmp.export_job.feed_number IS
  'With feed_sequence, the place in the feed after which the exported events begin.';
COMMENT ON COLUMN pmp.export_job.feed_horizon IS
  'Exported events have a lower transaction number: when the export began, all such transactions had ended.';
COMMENT ON COLUMN pmp.export_job.known_at IS
  'Events received later are left out, so that all pages show one state. NULL, of events: the horizon alone is the limit.';
COMMENT ON COLUMN pmp.export_job.lease_owner IS 'The invocation that holds the job until lease_until.';
COMMENT ON COLUMN pmp.export_job.stalled IS 'Invocations that have begun since the job last got on.';
COMMENT ON COLUMN pmp.export_job.last_error IS 'Why the last invocation that failed did; the job may have got on since.';
COMMENT ON COLUMN pmp.export_job.checkpoint IS
  'Where the next invocation resumes: {"after": [place], "users", "lines"}, of a file {"bytes", "upload_id", "etags": [of '
  'S3 parts], "tail": whether an object holds the rest that was too short for a part}, of a folder {"files"}; NULL: from '
  'the start.';
COMMENT ON COLUMN pmp.export_job.partitioned IS 'Whether it is a folder, which object_key names, instead of a file.';
COMMENT ON COLUMN pmp.export_job.files IS
  'Of a complete folder, [[day, lines, bytes]] of each file; NULL: it is not complete, or is a file.';
COMMENT ON COLUMN pmp.export_job.schedule IS 'Name of the schedule that made it; NULL: the API did.';
COMMENT ON COLUMN pmp.export_job.due_at IS 'The instant for which the schedule made it.';
COMMENT ON COLUMN pmp.export_job.kept IS
  'How long its files are kept after its end; what nobody asked for today is kept over a weekend and more.';
-- A schedule that fires twice makes one export; one that failed is made again.
CREATE UNIQUE INDEX export_job_due ON pmp.export_job (schedule, due_at) WHERE state IN ('waiting', 'running', 'succeeded');
CREATE INDEX export_job_pages ON pmp.export_job (created_at, id);
COMMENT ON COLUMN pmp.export_job.removed_at IS 'When the file was deleted.';
COMMENT ON COLUMN pmp.export_job.deleted_by IS 'The client that stopped it or deleted its file; NULL: nobody.';
CREATE INDEX export_job_open ON pmp.export_job (lease_until) WHERE state IN ('waiting', 'running');
CREATE INDEX export_job_files ON pmp.export_job (finished_at, id) WHERE removed_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON pmp.import_job, pmp.export_job, pmp.import_mapping TO pmp_app;
GRANT SELECT, INSERT, DELETE ON pmp.import_reject TO pmp_app;
GRANT SELECT ON pmp.export_job, pmp.import_mapping TO pmp_readonly;
-- Without what may quote a line or name a person: the name and key of the file, errors, and the lines themselves.
GRANT SELECT (
  id, state, format, compression, dry_run, max_rejected, expects_upload, expected_bytes, client, cancelled_by,
  object_version, sha256, occurred_at, created_at, started_at, finished_at, lease_until, attempts, stalled, position,
  position_line, line, lines, accepted, skipped, rejected, reasons, opted_in, opted_out, unchanged, new_users, bytes_read,
  bytes_total, rejects_kept, removed_at, rejects_removed_at, parent_id, parts
) ON pmp.import_job TO pmp_readonly;
GRANT SELECT (import_id, line, code) ON pmp.import_reject TO pmp_readonly;
COMMIT;
