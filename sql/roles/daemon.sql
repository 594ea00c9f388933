-- A role for the instances, which may work on the record and only read and add to its audit (docs/audit.md).
--
--     psql --dbname vesemir_record --set daemon=vesemir_daemon --file daemon.sql
--
-- Run as the owner of the record's tables, who must be allowed to create roles, or create the role first. The owner's role
-- is then for `vesemir migrate` and `vesemir audit prune` alone. May be run again; tables of later upgrades are covered.
-- It sets no password: use `\password`.

\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I LOGIN', :'daemon')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'daemon') \gexec

BEGIN;
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), :'daemon') \gexec
SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', current_schema(), :'daemon') \gexec
SELECT format('GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA %I TO %I', current_schema(), :'daemon') \gexec
SELECT format('REVOKE UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON audit FROM %I', :'daemon') \gexec
SELECT format('REVOKE INSERT, UPDATE, DELETE ON vesemir_migration FROM %I', :'daemon') \gexec
SELECT format(
    'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I',
    current_schema(), :'daemon') \gexec
SELECT format(
    'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO %I',
    current_schema(), :'daemon') \gexec
COMMIT;
