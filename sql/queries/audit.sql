-- The audit: rows are added to the end of a process's chain, read, and taken by retention.

-- name: audit_head
-- The last row of a chain.
SELECT chain, number, hash FROM audit WHERE chain = :chain ORDER BY number DESC LIMIT 1;

-- name: audit_heads
-- The last row of every chain, by one look into the index for each.
WITH RECURSIVE chains AS (
    (SELECT chain FROM audit ORDER BY chain LIMIT 1)
    UNION ALL
    SELECT (SELECT later.chain FROM audit AS later WHERE later.chain > chains.chain ORDER BY later.chain LIMIT 1)
    FROM chains WHERE chains.chain IS NOT NULL
)
SELECT head.chain, head.number, head.hash
FROM chains, LATERAL (
    SELECT audit.chain, audit.number, audit.hash FROM audit
    WHERE audit.chain = chains.chain ORDER BY audit.number DESC LIMIT 1) AS head;

-- name: audit_named
-- The rows that first rows of chains have named already: one that has not grown since need not be named again.
SELECT named.key AS chain, (named.value ->> 0)::bigint AS number
FROM audit, LATERAL jsonb_each(audit.entry -> 'heads') AS named WHERE audit.entry ? 'heads';

-- name: append_audit
-- Rows at the end of a chain. Fewer come back if a write of the same chain, whose answer was lost, was committed meanwhile.
INSERT INTO audit (chain, number, previous, hash, entry)
SELECT :chain, added.number, added.previous, added.hash, added.entry
FROM unnest(:numbers::bigint[], :previous::text[], :hashes::text[], :entries::jsonb[])
    AS added (number, previous, hash, entry)
ON CONFLICT (chain, number) DO NOTHING
RETURNING number;

-- name: audit_page
-- The rows after one, chain by chain: all of it is read in pages, each by the primary key.
SELECT chain, number, previous, hash, entry FROM audit
WHERE (chain, number) > (:chain::text COLLATE "C", :number::bigint)
ORDER BY chain, number LIMIT :limit;

-- name: audit_naming
-- The rows that name rows of other chains.
SELECT chain, number, previous, hash, entry FROM audit WHERE entry ? 'heads' ORDER BY chain, number;

-- name: find_audit
-- The newest first.
SELECT chain, number, previous, hash, entry FROM audit
WHERE (:deployment_id::text IS NULL OR deployment_id = :deployment_id)
  AND (:since::text IS NULL OR at >= :since)
  AND (:kind::text IS NULL OR entry ->> 'kind' = :kind)
  AND (:application::text IS NULL OR entry ->> 'application' = :application)
  AND (:environment::text IS NULL OR entry ->> 'environment' = :environment)
  AND (:identity::text IS NULL OR entry ->> 'identity' = :identity)
ORDER BY at DESC, chain, number DESC LIMIT :limit;

-- name: prune_audit!
-- Rows of chains up to a number. Only the owner of the table may.
DELETE FROM audit USING unnest(:chains::text[], :numbers::bigint[]) AS cut (chain, number)
WHERE audit.chain = cut.chain AND audit.number <= cut.number;

-- name: may_delete_audit
-- Whether this role could change what was written.
SELECT has_table_privilege('audit', 'DELETE') OR has_table_privilege('audit', 'UPDATE')
    OR has_table_privilege('audit', 'TRUNCATE') AS may;
