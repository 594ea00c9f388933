-- Who works on this record, by what the instances say of themselves. docs/database.md.

-- name: report_instance!
-- How an instance is now. What was stopped stays so: its last report may be overtaken by the one before.
INSERT INTO instance (name, version, in_work, draining, stopped_at)
VALUES (:name, :version, :in_work, :draining, CASE WHEN :stopped::boolean THEN clock_timestamp() END)
ON CONFLICT (name) DO UPDATE
    SET renewed_at = clock_timestamp(), in_work = excluded.in_work, draining = excluded.draining,
        stopped_at = excluded.stopped_at
    WHERE instance.stopped_at IS NULL;

-- name: forget_instances!
-- Those that were last heard of longer ago.
DELETE FROM instance WHERE renewed_at < clock_timestamp() - make_interval(secs => :older_than_seconds);

-- name: instances
-- Those that run first; of the others the last one heard of first.
SELECT name, version, since, in_work, renewed_at, state
FROM (SELECT instance.*,
             CASE WHEN stopped_at IS NOT NULL THEN 'stopped'
                  WHEN renewed_at < clock_timestamp() - make_interval(secs => :silent_seconds) THEN 'silent'
                  WHEN draining THEN 'draining'
                  ELSE 'working' END AS state
      FROM instance) AS shown
ORDER BY state IN ('stopped', 'silent'), CASE WHEN state IN ('working', 'draining') THEN since END, renewed_at DESC,
         name;

-- name: anyone_ran
-- Whether an instance has ever worked on this record: one of 0.1 only left its name where it had claimed something.
SELECT EXISTS (SELECT FROM instance) OR EXISTS (SELECT FROM deployment WHERE last_owner IS NOT NULL);

-- name: leases_in_force
-- What some instance works on now, also one of 0.1, which is not in the table.
SELECT count(*) FROM deployment WHERE finished_at IS NULL AND lease_expires_at >= clock_timestamp();
