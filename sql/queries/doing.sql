-- What the targets of a running deployment are doing: a hint. docs/database.md.

-- name: write_doing!
-- By the owner only; what a later owner has written stays.
INSERT INTO doing (deployment_id, epoch, steps)
SELECT deployment_id, epoch, :steps::json FROM deployment
WHERE deployment_id = :deployment_id AND owner = :owner AND epoch = :epoch
ON CONFLICT (deployment_id) DO UPDATE
    SET epoch = excluded.epoch, steps = excluded.steps, reported_at = clock_timestamp()
    WHERE doing.epoch <= excluded.epoch;

-- name: forget_doing!
-- At the end of a run, unless a later owner has written.
DELETE FROM doing WHERE deployment_id = :deployment_id AND epoch <= :epoch;

-- name: doing_of
-- What the owner of now has reported lately.
SELECT steps FROM doing JOIN deployment USING (deployment_id)
WHERE deployment_id = :deployment_id AND owner IS NOT NULL AND doing.epoch = deployment.epoch
  AND reported_at >= clock_timestamp() - make_interval(secs => :silent_seconds);
