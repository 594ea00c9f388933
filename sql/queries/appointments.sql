-- What is done by the clock: deployments that become due, and those that were not begun in time.

-- name: clock
-- Seconds since 1970.
SELECT EXTRACT(epoch FROM clock_timestamp())::double precision;

-- name: become_due
-- So many of those whose not_before has come. What others have locked is passed over, and comes next time.
UPDATE deployment SET due = true
WHERE deployment_id IN (
    SELECT deployment_id FROM deployment
    WHERE state = 'pending' AND NOT due AND not_before <= clock_timestamp()
    ORDER BY not_before LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING deployment_id;

-- name: lock_expired
-- So many of those that should have begun by now and did not, and that no instance works on. One that resolves its
-- targets just now ends by itself.
SELECT deployment_id, not_after,
       EXTRACT(epoch FROM coalesce(claimed_at, clock_timestamp()) - accepted_at)::double precision AS waited_seconds,
       request @> '{"dry_run": true}' AS dry_run
FROM deployment
WHERE not_after IS NOT NULL AND not_after <= clock_timestamp() AND started_at IS NULL AND finished_at IS NULL
  AND (owner IS NULL OR lease_expires_at < clock_timestamp())
ORDER BY not_after LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: end_expired!
-- One of them, with its result.
WITH ended AS (
    UPDATE deployment SET
        state = 'failed', finished_at = clock_timestamp(), failure = :failure, metrics = :metrics,
        next_sequence = next_sequence + 1, sealed = NULL, owner = NULL, lease_expires_at = NULL, paused_since = NULL
    WHERE deployment_id = :deployment_id
    RETURNING deployment_id, next_sequence - 1 AS sequence, finished_at
)
INSERT INTO event (deployment_id, sequence, name, instance, occurred_at, body)
SELECT deployment_id, sequence, 'deployment.finished', :instance, finished_at, :body FROM ended;
