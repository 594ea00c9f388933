-- A role that may read the record and change nothing: for dashboards, reports and people who look.
--
--     psql --dbname vesemir_record --set reader=vesemir_reader --file read_only.sql
--
-- Run as the owner of the record's tables, who must be allowed to create roles, or create the role first. May be run
-- again: after each upgrade it also covers the tables that the upgrade added. It sets no password: use `\password`.
-- Sealed secret parameters are encrypted, and are left out all the same.

\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I LOGIN', :'reader')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'reader') \gexec

SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), :'reader') \gexec

SELECT format(
    'GRANT SELECT (%s) ON %I.%I TO %I',
    string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position), table_schema, table_name, :'reader'
)
FROM information_schema.columns
WHERE table_schema = current_schema() AND column_name <> 'sealed'
GROUP BY table_schema, table_name \gexec

SELECT format('ALTER ROLE %I SET default_transaction_read_only = on', :'reader') \gexec
SELECT format('ALTER ROLE %I SET statement_timeout = ''30s''', :'reader') \gexec
