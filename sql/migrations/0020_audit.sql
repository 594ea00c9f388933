-- The audit (docs/audit.md): who asked for what and what became of it, chained by hash in a chain for each process. Rows
-- are only ever added; `vesemir audit prune` takes old ones, as the owner of the table. The release before writes none.
-- What can be searched for is made from the entry by the database, so that it cannot say something else.

CREATE TABLE audit (
    chain text COLLATE "C" NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    previous text NOT NULL,
    hash text NOT NULL,
    entry jsonb NOT NULL,
    at text COLLATE "C" GENERATED ALWAYS AS (entry ->> 'at') STORED,
    deployment_id text GENERATED ALWAYS AS (entry ->> 'deployment_id') STORED,
    PRIMARY KEY (chain, number)
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_deployment ON audit (deployment_id) WHERE deployment_id IS NOT NULL;
CREATE INDEX audit_first_rows ON audit (chain) WHERE entry ? 'heads';

COMMENT ON TABLE audit IS 'Who asked for what, from where, and what became of it; chained by hash';
COMMENT ON COLUMN audit.chain IS 'The process that wrote it: instance and a random part';
COMMENT ON COLUMN audit.previous IS 'The hash of the row before in the chain; empty in the first';
COMMENT ON COLUMN audit.hash IS 'SHA-256 of chain, number, previous and entry';
