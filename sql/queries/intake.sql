-- Intake and control: what messages from outside do to the record.

-- name: remember_requests
-- Remember ids, each given once; those that come back were not known. Waits for another transaction's insert of the same
-- id. Sorted, so that two groups wait for each other in one order only. After a restore, events of before it, and those
-- that do not say when they were sent, are not remembered: the lost record may have known them.
INSERT INTO known_request (deployment_id, body_hash, identity)
SELECT asked.deployment_id, asked.body_hash, asked.identity
FROM unnest(:ids::text[], :hashes::bytea[], :identities::text[], :sent::float8[])
    AS asked (deployment_id, body_hash, identity, sent)
WHERE NOT EXISTS (
    SELECT FROM restored
    WHERE repeats_accepted_at IS NULL AND restored_at >= coalesce(to_timestamp(asked.sent), '-infinity'))
ORDER BY asked.deployment_id
ON CONFLICT (deployment_id) DO NOTHING
RETURNING deployment_id;

-- name: new_arrivals
-- Take the next arrival numbers of lanes, so many of each, which locks the lanes until the end of the transaction.
-- Comes back with the last one taken, and with the lock of the lane that holds now: numbers that it leaves unused do not
-- matter.
INSERT INTO lane (name, arrivals)
SELECT asked.name, asked.count FROM unnest(:lanes::text[], :counts::bigint[]) AS asked (name, count) ORDER BY asked.name
ON CONFLICT (name) DO UPDATE SET arrivals = lane.arrivals + excluded.arrivals
RETURNING name, arrivals,
    locked_at IS NOT NULL AND (locked_until IS NULL OR locked_until > clock_timestamp()) AS locked,
    locked_at, locked_until, lock, EXTRACT(epoch FROM clock_timestamp())::double precision AS now;

-- name: forget_requests!
-- Ids of this transaction that their lanes' locks or quotas keep out: they may be used again.
DELETE FROM known_request WHERE deployment_id = ANY(:ids::text[]);

-- name: known_body_hash
-- The hash of the body that an id came with first.
SELECT body_hash FROM known_request WHERE deployment_id = :deployment_id;

-- name: known_request
-- The same with the identity that it came from: empty for none; null where the release before has recorded none and the
-- deployment is gone.
SELECT body_hash, coalesce(
    known_request.identity,
    CASE WHEN deployment.deployment_id IS NOT NULL THEN coalesce('amqp:' || deployment.user_id, '') END) AS identity
FROM known_request LEFT JOIN deployment USING (deployment_id) WHERE known_request.deployment_id = :deployment_id;

-- name: insert_deployments
-- Deployments, the deployment.accepted of each, the topic exchange and the requester's destination. A statement of its own
-- after new_arrivals, because only now, with the lanes locked, can it see every deployment that is before these. What is
-- before them in the group itself it cannot see: that is ``ahead``, of which those that are not due do not count. Quotas
-- are lines of one text each.
WITH asked AS (
    SELECT *, to_timestamp(begins) AS not_before, to_timestamp(ends) AS not_after,
           coalesce(to_timestamp(begins) <= clock_timestamp(), true) AS due,
           count(*) FILTER (WHERE to_timestamp(begins) > clock_timestamp()) OVER (
               PARTITION BY application, environment ORDER BY arrival
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS not_due
    FROM unnest(
        :ids::text[], :requests::jsonb[], :sealed::bytea[], :defaults::jsonb[], :applications::text[],
        :environments::text[], :versions::text[], :recipes::text[], :teams::text[], :requesters::text[], :users::text[],
        :askers::jsonb[], :reasons::text[], :not_before::float8[], :not_after::float8[], :turns::text[], :quotas::text[],
        :waits_in::text[], :arrivals::bigint[], :ahead::integer[], :queues::text[], :correlations::text[])
        AS asked (deployment_id, request, sealed, defaults, application, environment, version, recipe, team, requested_by,
                  user_id, asker, break_glass, begins, ends, requester, quotas, queue, arrival, ahead, reply_to,
                  correlation_id)
), before AS (
    SELECT places.lane, (
        SELECT count(*) FROM deployment
        WHERE deployment.lane = places.lane AND finished_at IS NULL AND (due OR not_before <= clock_timestamp())
    ) AS deployments
    FROM (SELECT DISTINCT application || '/' || environment AS lane FROM asked) AS places
), accepted AS (
    INSERT INTO deployment (
        deployment_id, request, sealed, defaults, application, environment, version, recipe, team, requested_by, user_id,
        asker, break_glass, not_before, not_after, due, requester, quotas, queue, arrival, next_sequence)
    SELECT deployment_id, request, sealed, defaults, application, environment, version, recipe, team, requested_by,
           user_id, asker, break_glass, not_before, not_after, due, requester, string_to_array(quotas, E'\n'), queue,
           arrival, 2
    FROM asked
    RETURNING deployment_id, accepted_at, lane
), told AS (
    INSERT INTO event (deployment_id, sequence, name, instance, occurred_at, body)
    SELECT accepted.deployment_id, 1, 'deployment.accepted', :instance, accepted.accepted_at,
           json_build_object(
               'position', asked.ahead - asked.not_due + before.deployments,
               'not_before', to_char(asked.not_before AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'dry_run', asked.request @> '{"dry_run": true}',
               'break_glass', CASE WHEN asked.break_glass IS NOT NULL
                   THEN json_build_object('reason', asked.break_glass) END)
    FROM accepted JOIN asked USING (deployment_id) JOIN before USING (lane)
)
INSERT INTO destination (deployment_id, reply_to, correlation_id)
SELECT accepted.deployment_id, to_tell.reply_to, to_tell.correlation_id
FROM accepted JOIN asked USING (deployment_id), LATERAL (
    SELECT NULL::text AS reply_to, NULL::text AS correlation_id
    UNION ALL SELECT asked.reply_to, asked.correlation_id WHERE asked.reply_to IS NOT NULL
) AS to_tell;

-- name: lock_for_repeat
-- How far a deployment is that is asked for again. Waits for a commit in flight: its end is then seen, or not yet there.
SELECT next_sequence - 1 AS last_sequence, finished_at IS NOT NULL AS finished
FROM deployment WHERE deployment_id = :deployment_id FOR SHARE;

-- name: join_destination!
-- A new destination gets everything. A known one gets the last event (the result) again if there is one, and is tried
-- again if it was parked. Whoever publishes to it now loses its lease, so that it cannot undo this.
INSERT INTO destination (deployment_id, reply_to, correlation_id)
VALUES (:deployment_id, :reply_to, :correlation_id)
ON CONFLICT (deployment_id, reply_to, correlation_id) DO UPDATE SET
    cursor = CASE WHEN :finished::boolean THEN least(destination.cursor, :last_sequence::bigint - 1)
                  ELSE destination.cursor END,
    done = false,
    publisher = NULL,
    publisher_expires_at = NULL,
    next_attempt_at = clock_timestamp(),
    failing_since = NULL,
    reason = NULL,
    parked_at = NULL;

-- name: lock_for_control
-- What a control message is about.
SELECT application, environment, version, state, finished_at IS NOT NULL AS finished, last_control, awaits_approval,
       asker, user_id, requested_by,
       coalesce(request -> 'dry_run' = 'true', false) AS dry_run,
       EXTRACT(epoch FROM clock_timestamp() - accepted_at)::double precision AS waited_seconds
FROM deployment WHERE deployment_id = :deployment_id FOR UPDATE;

-- name: wish_cancel!
-- The first cancel stays.
UPDATE deployment SET cancel_wish = coalesce(cancel_wish, :wish), last_control = :token
WHERE deployment_id = :deployment_id AND finished_at IS NULL;

-- name: wish_pause!
-- The first pause stays until it is resumed.
UPDATE deployment SET pause_wish = coalesce(pause_wish, :wish), last_control = :token
WHERE deployment_id = :deployment_id AND finished_at IS NULL;

-- name: wish_resume!
-- Takes a pause back, and approves one gate.
UPDATE deployment SET resume_wish = :wish, pause_wish = NULL, approvals = approvals + 1, last_control = :token
WHERE deployment_id = :deployment_id AND finished_at IS NULL;

-- name: cancel_waiting
-- A deployment that nobody ever claimed ends at once.
WITH ended AS (
    UPDATE deployment SET
        state = 'cancelled', finished_at = clock_timestamp(), failure = :failure, metrics = :metrics, cancel_wish = :wish,
        next_sequence = next_sequence + 1, last_control = :token, sealed = NULL
    WHERE deployment_id = :deployment_id AND state = 'pending'
    RETURNING deployment_id, next_sequence - 1 AS sequence, finished_at
)
INSERT INTO event (deployment_id, sequence, name, instance, occurred_at, body)
SELECT deployment_id, sequence, 'deployment.finished', :instance, finished_at, :body FROM ended;

-- name: notify
-- Hints to every instance that listens; they may be lost.
SELECT pg_notify('vesemir', hint) FROM unnest(:hints::text[]) AS hint;
