-- For people and dashboards: read only.

-- name: deployment_view
-- One deployment with its counts.
SELECT deployment.*,
       EXTRACT(epoch FROM coalesce(claimed_at, finished_at, clock_timestamp()) - accepted_at)::double precision
           AS queued_seconds,
       coalesce(EXTRACT(epoch FROM coalesce(finished_at, clock_timestamp()) - claimed_at), 0)::double precision
           AS duration_seconds,
       (SELECT count(*) FROM step WHERE step.deployment_id = deployment.deployment_id) AS steps_total
FROM deployment WHERE deployment_id = :deployment_id;

-- name: destinations_of
-- Where its events go, how far they are, and which are parked.
SELECT reply_to, correlation_id, cursor, done, failing_since, next_attempt_at, reason, parked_at
FROM destination WHERE deployment_id = :deployment_id ORDER BY destination_id;

-- name: deployments
-- History, newest first; ``before`` is the id of the last one of the page before.
SELECT deployment_id, application, environment, version, recipe, team, requested_by, state, owner, failure, accepted_at,
       started_at, finished_at,
       coalesce(EXTRACT(epoch FROM coalesce(finished_at, clock_timestamp()) - claimed_at), 0)::double precision
           AS duration_seconds
FROM deployment
WHERE (:application::text IS NULL OR application = :application)
  AND (:environment::text IS NULL OR environment = :environment)
  AND (:state::text IS NULL OR state = :state)
  AND (:before::text IS NULL OR (accepted_at, deployment_id) < (
      SELECT last.accepted_at, last.deployment_id FROM deployment AS last WHERE last.deployment_id = :before))
ORDER BY accepted_at DESC, deployment_id DESC LIMIT :limit;

-- name: steps
-- Recorded tries of steps in order, of one target or of all; the output only when it is asked for.
SELECT target, direction, step, attempt, status, exit_status, duration_seconds, output_bytes, output_truncated, redone,
       recorded_at, CASE WHEN :with_output::boolean THEN output END AS output
FROM step
WHERE deployment_id = :deployment_id AND (:target::text IS NULL OR target = :target)
ORDER BY step_id;

-- name: backlog
-- How much the outbox still has to publish, since when, and how many destinations were given up.
SELECT coalesce(sum(next_sequence - 1 - cursor) FILTER (WHERE parked_at IS NULL), 0)::bigint AS events,
       count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked,
       coalesce(EXTRACT(epoch FROM clock_timestamp() - min((
           SELECT occurred_at FROM event
           WHERE event.deployment_id = destination.deployment_id AND event.sequence = destination.cursor + 1
       )) FILTER (WHERE parked_at IS NULL)), 0)::double precision AS oldest_seconds
FROM destination JOIN deployment USING (deployment_id)
WHERE NOT done AND cursor < next_sequence - 1;

-- name: ping
-- Whether it answers and is migrated.
SELECT name FROM vesemir_migration LIMIT 1;
