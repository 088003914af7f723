-- The roles of one environment. Run by psql as the master user before every Sqitch deployment; running it again changes
-- nothing. Passwords come on standard input as psql variables, so that they stand in no argument list:
--
--   printf '\\set app_password %s\n\\set migrator_password %s\n\\i db/roles.sql\n' … | psql
--
--   pmp_migrator  owns the schema, runs Sqitch
--   pmp_app       the Lambda, through the proxy
--   pmp_readonly  people and reports; logs in only if somebody gives it a password
\set ON_ERROR_STOP on
\if :{?app_password}
\else
  \warn 'roles.sql: set the psql variable app_password'
  SELECT 1 / 0 AS app_password_is_missing;
\endif
\if :{?migrator_password}
\else
  \warn 'roles.sql: set the psql variable migrator_password'
  SELECT 1 / 0 AS migrator_password_is_missing;
\endif

BEGIN;
-- A failing statement must not put a password into the server's log.
-- (log_min_error_statement is a superuser's setting, so SCRAM verifiers are not computed here but the statement is kept
-- simple enough not to fail: the roles exist by then.)
SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['pmp_migrator', 'pmp_app', 'pmp_readonly']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE pmp_migrator PASSWORD :'migrator_password';
ALTER ROLE pmp_app PASSWORD :'app_password';

-- PostgreSQL 16 gives the creator of a role ADMIN OPTION but no right to act for it; 15 has no such difference.
GRANT pmp_migrator TO CURRENT_USER;

-- A statement of the Lambda that outlives the Lambda is of no use to anybody. An import's batch sets its own limit.
ALTER ROLE pmp_app SET statement_timeout = '25s';
ALTER ROLE pmp_app SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE pmp_app SET search_path = pmp;
ALTER ROLE pmp_readonly SET default_transaction_read_only = on;
ALTER ROLE pmp_readonly SET statement_timeout = '60s';
ALTER ROLE pmp_readonly SET search_path = pmp;

SELECT current_database() AS database
\gset
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE :"database" TO pmp_migrator;
GRANT CONNECT ON DATABASE :"database" TO pmp_app, pmp_readonly;
-- RDS Proxy's own role, which RDS makes. AWS warns that a change of its permissions can make the proxy unavailable, so it
-- keeps what PUBLIC had. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.html
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), rolname)
FROM pg_roles
WHERE rolname = 'rdsproxyadmin'
\gexec
-- Nothing of ours lives in public, and PostgreSQL 14 let everybody create there.
-- Whoever owns the schema differs between RDS and Debian: the master may lack the right, which then is no matter.
DO $$
BEGIN
  REVOKE CREATE ON SCHEMA public FROM PUBLIC;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END
$$;
COMMIT;
