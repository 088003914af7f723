-- The roles of one environment. psql runs this file as the master user before every Sqitch deployment; repeating it
-- changes nothing. Passwords are passed on standard input as psql variables, so that no argument list shows them, and as
-- SCRAM verifiers (ops/scram.py), so that no server log does:
--
--   printf '\\set app_password %s\n\\set migrator_password %s\n\\i db/roles.sql\n' … | psql
--
--   pmp_migrator  owns the schema, runs Sqitch
--   pmp_app       the Lambda, through the proxy
--   pmp_readonly  operators and reports; can log in only after it was given a password
--   pmp_retention owns the functions by which expired events leave the record; nobody can log in as it
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
-- A failing statement must not write a password to the server log. Only a superuser may set log_min_error_statement, so
-- the roles are created first, and the statements with passwords are too simple to fail.
SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['pmp_migrator', 'pmp_app', 'pmp_readonly']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
SELECT 'CREATE ROLE pmp_retention NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pmp_retention')
\gexec

ALTER ROLE pmp_migrator PASSWORD :'migrator_password';
ALTER ROLE pmp_app PASSWORD :'app_password';

-- PostgreSQL 16 gives the creator of a role ADMIN OPTION, but not the right to act as it.
GRANT pmp_migrator TO CURRENT_USER;
-- The migrator gives it its functions.
GRANT pmp_retention TO pmp_migrator;

-- End a statement before the client's socket times out after 14 s (lambda/pmp/database.py), even if it has waited 5 s for
-- a connection, so that nothing is started again while its first run goes on: RDS Proxy passes no CancelRequest on. A
-- role's setting pins no session of the proxy, a SET does:
-- https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html
ALTER ROLE pmp_app SET statement_timeout = '8s';
ALTER ROLE pmp_app SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE pmp_app SET search_path = pmp;
-- The engine compiles a statement that it takes for expensive, which needs longer than any statement of the API.
ALTER ROLE pmp_app SET jit = off;
ALTER ROLE pmp_readonly SET default_transaction_read_only = on;
ALTER ROLE pmp_readonly SET statement_timeout = '60s';
ALTER ROLE pmp_readonly SET search_path = pmp;

SELECT current_database() AS database
\gset
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE :"database" TO pmp_migrator;
GRANT CONNECT ON DATABASE :"database" TO pmp_app, pmp_readonly;
-- RDS Proxy's own role, which RDS creates. AWS warns that a change of its permissions can make the proxy unavailable, so it
-- keeps what PUBLIC had. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.html
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), rolname)
FROM pg_roles
WHERE rolname = 'rdsproxyadmin'
\gexec
-- A backfill waits while the database is busy (docs/adr/0230), and only this role sees who is active. Where the master
-- user may not grant it, backfills say that they do not see it and go on slowly.
DO $$
BEGIN
  GRANT pg_monitor TO pmp_migrator;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END
$$;
-- PMP does not use the schema public, in which PostgreSQL 14 let every role create objects. Its owner differs between
-- RDS and Debian; if the master user lacks the privilege, nothing is lost.
DO $$
BEGIN
  REVOKE CREATE ON SCHEMA public FROM PUBLIC;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END
$$;
COMMIT;
