-- What the owner of a deployment writes, and what it reads to go on.

-- name: fence
-- The first statement of every commit: lock the row where owner and epoch still hold and take numbers for the events.
-- No row: the lease is lost, or this very write (its token) is there already.
UPDATE deployment SET last_write = :token, next_sequence = next_sequence + :events
WHERE deployment_id = :deployment_id AND owner = :owner AND epoch = :epoch AND last_write IS DISTINCT FROM :token
RETURNING next_sequence - :events AS sequence;

-- name: is_written
-- Whether the commit with this token, whose answer was lost, is there.
SELECT last_write = :token AS written FROM deployment WHERE deployment_id = :deployment_id;

-- name: insert_events!
-- Numbered as fence gave it.
INSERT INTO event (deployment_id, sequence, name, instance, body)
SELECT :deployment_id, told.sequence, told.name, :instance, told.body
FROM unnest(:sequences::bigint[], :names::text[], :bodies::json[]) AS told (sequence, name, body);

-- name: move_deployment
-- From a state to another. A pause stops the clock; a final state gives the lease up.
UPDATE deployment SET
    state = :new::text,
    failure = coalesce(:failure, failure),
    awaits_approval = :awaits_approval::boolean,
    approvals = CASE WHEN :awaits_approval THEN 0 ELSE approvals END,
    approved_batch = greatest(approved_batch, :approves::integer),
    paused_since = CASE WHEN :new::text = 'paused' THEN clock_timestamp() END,
    paused_seconds = CASE
        WHEN :resets_clock::boolean THEN 0
        WHEN paused_since IS NULL THEN paused_seconds
        ELSE paused_seconds + EXTRACT(epoch FROM clock_timestamp() - greatest(paused_since, clock_started_at)) END,
    clock_started_at = CASE WHEN :resets_clock AND clock_started_at IS NOT NULL THEN clock_timestamp()
                            ELSE clock_started_at END,
    finished_at = CASE WHEN :final::boolean THEN clock_timestamp() END,
    sealed = CASE WHEN NOT :final THEN sealed END,
    owner = CASE WHEN :final THEN NULL ELSE owner END,
    lease_expires_at = CASE WHEN :final THEN NULL ELSE lease_expires_at END
WHERE deployment_id = :deployment_id AND state = :old
RETURNING deployment_id;

-- name: store_metrics!
-- Those of the result.
UPDATE deployment SET metrics = :metrics WHERE deployment_id = :deployment_id;

-- name: start_deployment
-- The clock begins, unless not_after has come.
UPDATE deployment SET
    started_at = clock_timestamp(), clock_started_at = clock_timestamp(), paused_seconds = 0,
    resolve_seconds = :resolve_seconds, balancers = :balancers, found_backends = :found_backends, recipe_digest = :recipe_digest
WHERE deployment_id = :deployment_id AND started_at IS NULL AND (not_after IS NULL OR not_after > clock_timestamp())
RETURNING deployment_id;

-- name: is_started
-- Whether it was begun before.
SELECT started_at IS NOT NULL FROM deployment WHERE deployment_id = :deployment_id;

-- name: keep_recipe!
-- The text of a recipe, once for all deployments that begin with it.
INSERT INTO recipe (digest, source, full_source) VALUES (:digest, :source, :full_source) ON CONFLICT (digest) DO NOTHING;

-- name: insert_targets
-- The targets of a plan, in its order.
INSERT INTO target (
    deployment_id, direction, name, address, port, login, variables, source, batch, position, state, finished, touched,
    failure, traffic, duration_seconds, connect_seconds)
SELECT :deployment_id, planned.* FROM unnest(
    :directions::text[], :names::text[], :addresses::text[], :ports::integer[], :logins::text[], :variables::jsonb[],
    :sources::text[], :batches::integer[], :positions::integer[], :states::text[], :finished::boolean[],
    :touched::boolean[], :failures::jsonb[], :traffic::jsonb[], :durations::double precision[],
    :connects::double precision[]) AS planned;

-- name: move_targets
-- Different targets, each from a state to another; what comes back was moved.
UPDATE target SET
    state = moved.new,
    finished = moved.finished,
    failure = coalesce(moved.failure, target.failure),
    duration_seconds = coalesce(moved.duration_seconds, target.duration_seconds),
    connect_seconds = coalesce(moved.connect_seconds, target.connect_seconds),
    in_traffic = coalesce(moved.in_traffic, target.in_traffic)
FROM unnest(
    :directions::text[], :names::text[], :olds::text[], :news::text[], :finished::boolean[], :failures::jsonb[],
    :durations::double precision[], :connects::double precision[], :seen::boolean[])
    AS moved (direction, name, old, new, finished, failure, duration_seconds, connect_seconds, in_traffic)
WHERE target.deployment_id = :deployment_id AND target.direction = moved.direction AND target.name = moved.name
  AND target.state = moved.old AND NOT target.finished
RETURNING target.direction, target.name;

-- name: regress_targets
-- The one way out of a final state: what succeeded on the way forward has failed since. What comes back was moved.
UPDATE target SET state = 'failed', failure = regressed.failure
FROM unnest(:names::text[], :failures::jsonb[]) AS regressed (name, failure)
WHERE target.deployment_id = :deployment_id AND target.direction = 'forward' AND target.name = regressed.name
  AND target.state = 'succeeded' AND target.finished
RETURNING target.name;

-- name: skip_pending!
-- Nothing more of this direction begins.
UPDATE target SET state = 'skipped', finished = true
WHERE deployment_id = :deployment_id AND direction = :direction AND state = 'pending';

-- name: touch_targets
-- A recipe step is about to begin there.
UPDATE target SET touched = true
FROM unnest(:directions::text[], :names::text[]) AS began (direction, name)
WHERE target.deployment_id = :deployment_id AND target.direction = began.direction AND target.name = began.name
RETURNING target.direction, target.name;

-- name: record_traffic
-- What was in HAProxy before.
UPDATE target SET traffic = seen.traffic
FROM unnest(:directions::text[], :names::text[], :traffic::jsonb[]) AS seen (direction, name, traffic)
WHERE target.deployment_id = :deployment_id AND target.direction = seen.direction AND target.name = seen.name
RETURNING target.direction, target.name;

-- name: record_in_traffic
-- What HAProxy says of targets that were not begun.
UPDATE target SET in_traffic = seen.in_traffic
FROM unnest(:directions::text[], :names::text[], :seen::boolean[]) AS seen (direction, name, in_traffic)
WHERE target.deployment_id = :deployment_id AND target.direction = seen.direction AND target.name = seen.name
RETURNING target.direction, target.name;

-- name: leave_drained!
-- Their servers stay out of traffic beyond this deployment. A target stands in one of the two tables. One that was to be
-- healed stays with the earlier deployment, which knows how the server was when it was well.
WITH asked AS (
    SELECT lane, name, deployment_id, coalesce(
        jsonb_typeof(request #> '{haproxy,backend}') = 'array' OR request #>> '{haproxy,backend}' = '*', false) AS several
    FROM deployment, unnest(:names::text[]) AS name WHERE deployment_id = :deployment_id
), left_now AS (
    SELECT * FROM asked
    WHERE NOT EXISTS (
        SELECT FROM target
        JOIN (SELECT lane, target FROM left_drained UNION ALL SELECT lane, target FROM left_drained_several) AS earlier
            ON earlier.lane = asked.lane AND earlier.target = asked.name
        WHERE target.deployment_id = asked.deployment_id AND target.name = asked.name AND target.traffic ? 'healthy')
), moved AS (
    DELETE FROM left_drained USING left_now
    WHERE several AND left_drained.lane = left_now.lane AND left_drained.target = left_now.name
), moved_back AS (
    DELETE FROM left_drained_several AS other USING left_now
    WHERE NOT several AND other.lane = left_now.lane AND other.target = left_now.name
), of_several AS (
    INSERT INTO left_drained_several (lane, target, deployment_id)
    SELECT lane, name, deployment_id FROM left_now WHERE several
    ON CONFLICT (lane, target) DO UPDATE SET deployment_id = excluded.deployment_id, since = excluded.since,
        seen_at = NULL, seen_by = NULL
)
INSERT INTO left_drained (lane, target, deployment_id)
SELECT lane, name, deployment_id FROM left_now WHERE NOT several
ON CONFLICT (lane, target) DO UPDATE SET deployment_id = excluded.deployment_id, since = excluded.since, seen_at = NULL,
    seen_by = NULL;

-- name: back_in_traffic!
-- Their servers were found in traffic, or put back into it: the deployment that had left them drained is told since when.
WITH back AS (
    DELETE FROM left_drained USING deployment
    WHERE deployment.deployment_id = :deployment_id AND left_drained.lane = deployment.lane
      AND left_drained.target = ANY (:names::text[])
    RETURNING left_drained.deployment_id, left_drained.target
), back_in_several AS (
    DELETE FROM left_drained_several AS several USING deployment
    WHERE deployment.deployment_id = :deployment_id AND several.lane = deployment.lane
      AND several.target = ANY (:names::text[])
    RETURNING several.deployment_id, several.target)
UPDATE target SET back_in_traffic_at = clock_timestamp()
FROM (TABLE back UNION TABLE back_in_several) AS every
WHERE target.deployment_id = every.deployment_id AND target.name = every.target;

-- name: insert_steps
-- Finished tries of steps, in the order they happened.
INSERT INTO step (
    deployment_id, target, direction, step, attempt, status, exit_status, duration_seconds, output, output_bytes,
    output_truncated, redone)
SELECT :deployment_id, done.target, done.direction, done.step, done.attempt, done.status, done.exit_status,
       done.duration_seconds, done.output, done.output_bytes, done.output_truncated, done.redone
FROM unnest(
    :targets::text[], :directions::text[], :steps::text[], :attempts::integer[], :statuses::text[],
    :exit_statuses::integer[], :durations::double precision[], :outputs::text[], :sizes::bigint[], :truncated::boolean[],
    :redone::boolean[]) WITH ORDINALITY
    AS done (target, direction, step, attempt, status, exit_status, duration_seconds, output, output_bytes,
             output_truncated, redone, number)
ORDER BY done.number;

-- name: load_deployment
-- All of one deployment that a run goes on from.
SELECT deployment_id, request, defaults, sealed, state, owner, epoch, failure, takeovers, resolve_seconds, balancers, found_backends,
       (SELECT coalesce(full_source, source) FROM recipe WHERE digest = recipe_digest) AS recipe_source,
       user_id, requested_by, asker,
       not_after,
       EXTRACT(epoch FROM not_after - clock_timestamp())::double precision AS expires_in_seconds,
       awaits_approval, approved_batch, cancel_wish, pause_wish, resume_wish, approvals, started_at IS NOT NULL AS started,
       EXTRACT(epoch FROM coalesce(claimed_at, finished_at, clock_timestamp()) - accepted_at)::double precision
           AS queued_seconds,
       coalesce(EXTRACT(epoch FROM coalesce(paused_since, finished_at, clock_timestamp()) - clock_started_at)
           - paused_seconds, 0)::double precision AS clock_seconds,
       coalesce(EXTRACT(epoch FROM clock_timestamp() - paused_since), 0)::double precision AS paused_for_seconds,
       coalesce(EXTRACT(epoch FROM coalesce(finished_at, clock_timestamp()) - claimed_at), 0)::double precision
           AS total_seconds
FROM deployment WHERE deployment_id = :deployment_id;

-- name: load_targets
-- Its targets: forward first, each direction in the plan's order.
SELECT name, direction, address, port, login, variables, source, batch, position, state, finished, touched, failure,
       traffic, duration_seconds, connect_seconds, in_traffic
FROM target WHERE deployment_id = :deployment_id
ORDER BY direction DESC, batch, position, name;

-- name: step_totals
-- For the metrics of the result.
SELECT count(*) AS steps, count(*) FILTER (WHERE redone) AS redone, coalesce(sum(output_bytes), 0)::bigint AS output_bytes
FROM step WHERE deployment_id = :deployment_id;

-- name: finished_steps
-- What is recorded for one target in one direction, without output but for the verdict on a canary.
SELECT target, direction, step, attempt, status, exit_status, duration_seconds,
       CASE WHEN step = 'analysis' THEN output ELSE '' END AS output, output_bytes, output_truncated, redone
FROM step WHERE deployment_id = :deployment_id AND target = :target AND direction = :direction
ORDER BY step_id;

-- name: succeeded_steps
-- By target, what has succeeded on the way forward of one deployment.
SELECT target, array_agg(DISTINCT step) AS steps
FROM step WHERE deployment_id = :deployment_id AND direction = 'forward' AND status = 'succeeded'
GROUP BY target;
