-- The clean-up of what ended long ago. Each statement below the first two takes at most so many rows.

-- name: enter_clean_up
-- One instance at a time, for one short transaction. No row: another is in it.
SELECT name FROM section WHERE name = 'clean-up' FOR UPDATE SKIP LOCKED;

-- name: lock_cleanable
-- What ended before then, the oldest first. Not what some destination is still owed (one that was given up is owed
-- nothing), nor what left a server drained that nobody has put back, nor a lane's newest successes, which a rollback may
-- have to go back to. What others have locked is passed over.
SELECT deployment_id FROM deployment
WHERE finished_at < clock_timestamp() - make_interval(secs => :older_than_seconds)
  AND NOT EXISTS (SELECT FROM destination WHERE destination.deployment_id = deployment.deployment_id
                  AND NOT done AND parked_at IS NULL)
  AND NOT EXISTS (SELECT FROM left_drained WHERE left_drained.deployment_id = deployment.deployment_id)
  AND NOT EXISTS (SELECT FROM left_drained_several AS several WHERE several.deployment_id = deployment.deployment_id)
  AND (state <> 'succeeded' OR coalesce((request ->> 'dry_run')::boolean, false) OR :keep_good::integer <= (
      SELECT count(*) FROM (
          SELECT FROM deployment AS newer
          WHERE newer.lane = deployment.lane AND newer.arrival > deployment.arrival AND newer.state = 'succeeded'
            AND NOT coalesce((newer.request ->> 'dry_run')::boolean, false)
          LIMIT :keep_good) AS later))
ORDER BY finished_at LIMIT :limit
FOR UPDATE OF deployment SKIP LOCKED;

-- name: keep_results!
-- Before anything of them is deleted: from now on a repeat is answered with this.
INSERT INTO kept_result (deployment_id, application, environment, version, sequence, instance, occurred_at, body)
SELECT deployment_id, application, environment, version, sequence, instance, occurred_at, body
FROM event JOIN deployment USING (deployment_id)
WHERE event.deployment_id = ANY(:deployment_ids::text[]) AND event.name = 'deployment.finished'
ON CONFLICT DO NOTHING;

-- name: clean_steps
-- Outputs are most of a record.
WITH gone AS (
    DELETE FROM step WHERE step_id IN (
        SELECT step_id FROM step WHERE deployment_id = ANY(:deployment_ids::text[]) LIMIT :limit)
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: clean_events
-- What was told, the result too: it is kept already.
WITH gone AS (
    DELETE FROM event WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM event WHERE deployment_id = ANY(:deployment_ids::text[]) LIMIT :limit))
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: clean_targets
-- Nothing refers to them any more.
WITH gone AS (
    DELETE FROM target WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM target WHERE deployment_id = ANY(:deployment_ids::text[]) LIMIT :limit))
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: clean_deployments
-- With their destinations; nothing else is left of them by now.
WITH gone AS (
    DELETE FROM deployment WHERE deployment_id = ANY(:deployment_ids::text[]) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: kept_result
-- The result of a deployment that was cleaned up, or is being.
SELECT deployment_id, sequence, 'deployment.finished' AS name, instance, occurred_at, body, application, environment,
       version
FROM kept_result WHERE deployment_id = :deployment_id;
