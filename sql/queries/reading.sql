-- For people and dashboards: read only.

-- name: deployment_view
-- One deployment with its counts.
SELECT deployment.*, coalesce(request -> 'dry_run' = 'true', false) AS dry_run,
       EXTRACT(epoch FROM coalesce(claimed_at, finished_at, clock_timestamp()) - accepted_at)::double precision
           AS queued_seconds,
       coalesce(EXTRACT(epoch FROM coalesce(finished_at, clock_timestamp()) - claimed_at), 0)::double precision
           AS duration_seconds,
       (SELECT count(*) FROM step WHERE step.deployment_id = deployment.deployment_id) AS steps_total,
       coalesce(lease_expires_at < clock_timestamp(), false) AS lease_expired,
       EXTRACT(epoch FROM clock_timestamp() - paused_since)::double precision AS paused_for_seconds
FROM deployment WHERE deployment_id = :deployment_id;

-- name: targets_of_view
-- Its targets as load_targets has them, with what the record knows of their traffic now. A look of before ``since`` was
-- at what an earlier deployment had left.
SELECT target.name, direction, address, port, login, source, batch, target.state, finished, touched, target.failure,
       traffic, duration_seconds, connect_seconds, in_traffic, back_in_traffic_at,
       drained.lane AS drained_lane, drained.deployment_id AS drained_by, drained.since AS drained_since,
       CASE WHEN seen_at >= since THEN seen_at END AS seen_at, CASE WHEN seen_at >= since THEN seen_by END AS seen_by,
       EXTRACT(epoch FROM clock_timestamp() - greatest(since, seen_at))::double precision AS known_seconds_ago
FROM target JOIN deployment USING (deployment_id)
LEFT JOIN (TABLE left_drained UNION ALL TABLE left_drained_several) AS drained ON drained.lane = deployment.lane AND drained.target = target.name
WHERE target.deployment_id = :deployment_id
ORDER BY direction DESC, batch, position, name;

-- name: waits_for
-- What of its lane comes before a deployment that waits and has not ended, the next one first. What is not due comes
-- before nobody; what became due while a later one was active comes after that one.
SELECT before.deployment_id, before.version, before.state, before.requested_by, before.user_id, before.asker,
       before.accepted_at,
       coalesce(before.request -> 'dry_run' = 'true', false) AS dry_run
FROM deployment AS waiting JOIN deployment AS before ON before.lane = waiting.lane
    AND (before.arrival < waiting.arrival OR before.arrival > waiting.arrival AND before.state <> 'pending')
WHERE waiting.deployment_id = :deployment_id AND waiting.state = 'pending' AND before.finished_at IS NULL AND before.due
ORDER BY before.state = 'pending', before.arrival;

-- name: destinations_of
-- Where its events go, how far they are, and which are parked.
SELECT reply_to, correlation_id, cursor, done, failing_since, next_attempt_at, reason, parked_at
FROM destination WHERE deployment_id = :deployment_id ORDER BY destination_id;

-- name: deployments
-- History, newest first; ``before`` is the id of the last one of the page before.
SELECT deployment_id, application, environment, version, recipe, team, requested_by, user_id, asker, state, owner, failure,
       accepted_at, started_at, finished_at, coalesce(request -> 'dry_run' = 'true', false) AS dry_run,
       coalesce(EXTRACT(epoch FROM coalesce(finished_at, clock_timestamp()) - claimed_at), 0)::double precision
           AS duration_seconds
FROM deployment
WHERE (:application::text IS NULL OR application = :application)
  AND (:environment::text IS NULL OR environment = :environment)
  AND (:state::text IS NULL OR state = :state)
  -- Said once more where the state is none of the final ones: there is an index of what has not ended.
  AND (NOT :unfinished::boolean OR finished_at IS NULL)
  AND (:team::text IS NULL OR team = :team)
  AND (:since::timestamptz IS NULL OR accepted_at >= :since)
  AND (:before::text IS NULL OR (accepted_at, deployment_id) < (
      SELECT last.accepted_at, last.deployment_id FROM deployment AS last WHERE last.deployment_id = :before))
ORDER BY accepted_at DESC, deployment_id DESC LIMIT :limit;

-- name: was_dry_run
-- By the line for statistics, which outlives the clean-up.
SELECT dry_run FROM outcome WHERE deployment_id = :deployment_id;

-- name: lane_history
-- What was deployed in a lane, newest first, with the hosts of each: all, those that a recipe step began on, and those
-- that a rollback brought back. Dry runs changed nothing and are left out.
SELECT deployment_id, application, environment, version, recipe, state, request, started_at, finished_at,
       ARRAY(SELECT name FROM target WHERE target.deployment_id = deployment.deployment_id
             AND direction = 'forward') AS targets,
       ARRAY(SELECT name FROM target WHERE target.deployment_id = deployment.deployment_id
             AND direction = 'forward' AND touched) AS touched,
       ARRAY(SELECT name FROM target WHERE target.deployment_id = deployment.deployment_id
             AND direction = 'back' AND state = 'rolled_back') AS brought_back
FROM deployment
WHERE lane = :application::text || '/' || :environment::text AND NOT coalesce((request ->> 'dry_run')::boolean, false)
ORDER BY arrival DESC LIMIT :limit;

-- name: steps
-- Recorded tries of steps in order, of one target or of all, after one that was read before; the output only when it is
-- asked for.
SELECT step_id, target, direction, step, attempt, status, exit_status, duration_seconds, output_bytes, output_truncated, redone,
       recorded_at, CASE WHEN :with_output::boolean THEN output END AS output
FROM step
WHERE deployment_id = :deployment_id AND (:target::text IS NULL OR target = :target) AND step_id > :after
ORDER BY step_id LIMIT :limit;

-- name: backlog
-- How much the outbox still has to publish, since when, and how many destinations were given up.
-- A requester's queue that refuses its events is its own trouble, and does not make the outbox old.
SELECT coalesce(sum(next_sequence - 1 - cursor) FILTER (WHERE parked_at IS NULL), 0)::bigint AS events,
       count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked,
       count(*) FILTER (WHERE parked_at IS NULL AND failing_since IS NOT NULL) AS failing,
       coalesce(EXTRACT(epoch FROM clock_timestamp() - min((
           SELECT occurred_at FROM event
           WHERE event.deployment_id = destination.deployment_id AND event.sequence = destination.cursor + 1
       )) FILTER (WHERE parked_at IS NULL AND (failing_since IS NULL OR reply_to IS NULL))), 0)::double precision
           AS oldest_seconds
FROM destination JOIN deployment USING (deployment_id)
WHERE NOT done AND cursor < next_sequence - 1;

-- name: waiting
-- Deployments that nobody works on, by what they wait for: the first of a lane for an instance with room, the others for
-- the one before them, which somebody may have paused; or for the end of a lock. What is not due waits for nothing that
-- anybody could do; its waiting begins when it is.
WITH unfinished AS (
    SELECT owner, lease_expires_at, greatest(accepted_at, not_before) AS since,
           state = 'pending' AND locked_at IS NOT NULL AND (locked_until IS NULL OR locked_until > clock_timestamp())
               AND break_glass IS NULL AND NOT request @> '{"dry_run": true}' AS is_locked,
           row_number() OVER lane_order = 1 AS is_first, first_value(state) OVER lane_order AS first_state
    FROM deployment JOIN lane ON lane.name = deployment.lane
    WHERE finished_at IS NULL AND due
    WINDOW lane_order AS (PARTITION BY lane ORDER BY state = 'pending', arrival)
)
SELECT CASE WHEN is_locked THEN 'pause' WHEN is_first THEN 'instance' WHEN first_state = 'paused' THEN 'pause'
            ELSE 'lane' END AS waits_for,
       count(*) AS deployments,
       EXTRACT(epoch FROM clock_timestamp() - min(since))::double precision AS oldest_seconds
FROM unfinished
WHERE NOT is_first OR owner IS NULL OR lease_expires_at < clock_timestamp()
GROUP BY waits_for;

-- name: count_left_drained
-- Servers out of traffic because of a result.
SELECT (SELECT count(*) FROM left_drained) + (SELECT count(*) FROM left_drained_several);

-- name: servers_left_drained
-- The same for people, the longest first.
SELECT lane, target, deployment_id, since, CASE WHEN seen_at >= since THEN seen_at END AS seen_at,
       CASE WHEN seen_at >= since THEN seen_by END AS seen_by,
       EXTRACT(epoch FROM clock_timestamp() - greatest(since, seen_at))::double precision AS known_seconds_ago
FROM (TABLE left_drained UNION ALL TABLE left_drained_several) AS left_out ORDER BY since, target LIMIT :limit;

-- name: left_drained
-- The same, with what it takes to look at them in HAProxy.
SELECT left_out.deployment_id, left_out.target, coalesce(left_out.backend, deployment.request #>> '{haproxy,backend}')
           AS backend, deployment.balancers, target.traffic
FROM (SELECT left_drained.*, NULL AS backend FROM left_drained
      UNION ALL SELECT several.*, '' FROM left_drained_several AS several) AS left_out
JOIN deployment USING (deployment_id)
JOIN target ON target.deployment_id = left_out.deployment_id AND target.name = left_out.target
    AND target.direction = 'forward'
WHERE target.traffic IS NOT NULL
ORDER BY left_out.since, left_out.target;

-- name: seen_in_traffic!
-- Unless a later deployment has left it drained since. Its deployment is told since when.
WITH back AS (
    DELETE FROM left_drained WHERE deployment_id = :deployment_id AND target = :target RETURNING deployment_id, target
), back_in_several AS (
    DELETE FROM left_drained_several WHERE deployment_id = :deployment_id AND target = :target
    RETURNING deployment_id, target)
UPDATE target SET back_in_traffic_at = clock_timestamp()
FROM (TABLE back UNION TABLE back_in_several) AS every
WHERE target.deployment_id = every.deployment_id AND target.name = every.target;

-- name: seen_drained!
-- An instance has looked: it still is.
WITH of_several AS (
    UPDATE left_drained_several SET seen_at = clock_timestamp(), seen_by = :instance
    WHERE deployment_id = :deployment_id AND target = :target
)
UPDATE left_drained SET seen_at = clock_timestamp(), seen_by = :instance
WHERE deployment_id = :deployment_id AND target = :target;

-- name: namespace_of_installation
-- The namespace of the installation that this record belongs to; nothing if no instance has worked on it yet.
SELECT namespace FROM installation;

-- name: found_installation!
-- The first instance says whose record this is; another one may have been quicker.
INSERT INTO installation (namespace) VALUES (:namespace) ON CONFLICT DO NOTHING;

-- name: going_on
-- What runs, then what waits, the oldest first: over the index of what has not ended, however much has. With how many of its lane
-- are before it, and how far it is on its way forward.
SELECT deployment_id, application, environment, version, recipe, team, requested_by, user_id, asker, state, owner, failure,
       accepted_at, started_at, finished_at, coalesce(request -> 'dry_run' = 'true', false) AS dry_run,
       coalesce(EXTRACT(epoch FROM clock_timestamp() - claimed_at), 0)::double precision AS duration_seconds,
       count(*) FILTER (WHERE due) OVER (
           PARTITION BY lane ORDER BY state = 'pending', arrival ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
           AS before_it, due, not_before,
       targets_total, targets_done, targets_failed
FROM deployment CROSS JOIN LATERAL (
    SELECT count(*) AS targets_total,
           count(*) FILTER (WHERE target.state = 'succeeded') AS targets_done,
           count(*) FILTER (WHERE finished AND target.state IN ('failed', 'unreachable', 'timed_out', 'unknown'))
               AS targets_failed
    FROM target WHERE target.deployment_id = deployment.deployment_id AND direction = 'forward'
) AS counted
WHERE finished_at IS NULL
ORDER BY state = 'pending', accepted_at, deployment_id LIMIT :limit;

-- name: last_ended
-- The last ones that ended, the last first.
SELECT deployment_id, application, environment, version, recipe, team, requested_by, user_id, asker, state, owner, failure,
       accepted_at, started_at, finished_at, coalesce(request -> 'dry_run' = 'true', false) AS dry_run,
       coalesce(EXTRACT(epoch FROM finished_at - claimed_at), 0)::double precision AS duration_seconds
FROM deployment WHERE finished_at IS NOT NULL
ORDER BY finished_at DESC, deployment_id DESC LIMIT :limit;
