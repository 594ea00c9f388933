-- Whether the record can be read, and written. docs/database.md.

-- name: read_probe
-- Whether it answers, is migrated, and lets deployments be read.
SELECT (SELECT name FROM vesemir_migration LIMIT 1), (SELECT deployment_id FROM deployment LIMIT 1);

-- name: write_probe!
-- A write and its commit, in one round trip: statements without parameters, sent together, are one transaction. The locks
-- are those of every write, and are given up before PostgreSQL looks for a deadlock (deadlock_timeout, 1 s): no change
-- of a table by somebody else fails because of a probe.
SET LOCAL lock_timeout = '900ms';
LOCK TABLE known_request, lane, deployment, target, step, event, destination IN ROW EXCLUSIVE MODE;
INSERT INTO write_probe DEFAULT VALUES ON CONFLICT (only_one) DO UPDATE SET written_at = clock_timestamp();

-- name: write_probe_pages!
-- 32 pages, and deleted again: an update finds room in its page when the disk is full, a new page does not.
INSERT INTO write_probe_filler SELECT repeat('x', 7500) FROM generate_series(1, 32);
DELETE FROM write_probe_filler;
