-- Intake and control: what messages from outside do to the record.

-- name: new_arrival
-- Remember the id and take the lane's next arrival number, which locks the lane until the end of the transaction.
-- No row: the id was known already.
WITH known AS (
    INSERT INTO known_request (deployment_id, body_hash) VALUES (:deployment_id, :body_hash)
    ON CONFLICT (deployment_id) DO NOTHING
    RETURNING deployment_id
)
INSERT INTO lane (name, arrivals)
SELECT :application::text || '/' || :environment::text, 1 FROM known
ON CONFLICT (name) DO UPDATE SET arrivals = lane.arrivals + 1
RETURNING arrivals;

-- name: known_body_hash
-- The hash of the body that an id came with first.
SELECT body_hash FROM known_request WHERE deployment_id = :deployment_id;

-- name: insert_deployment
-- The deployment, its deployment.accepted, the topic exchange and the requester's destination. A statement of its own
-- after new_arrival, because only now, with the lane locked, can it see every deployment that is before this one.
WITH accepted AS (
    INSERT INTO deployment (
        deployment_id, request, sealed, application, environment, version, recipe, team, requested_by, user_id, arrival,
        next_sequence)
    VALUES (
        :deployment_id, :request, :sealed, :application, :environment, :version, :recipe, :team, :requested_by, :user_id,
        :arrival, 2)
    RETURNING deployment_id, accepted_at
), told AS (
    INSERT INTO event (deployment_id, sequence, name, instance, occurred_at, body)
    SELECT deployment_id, 1, 'deployment.accepted', :instance, accepted_at, json_build_object('position', (
        SELECT count(*) FROM deployment AS before
        WHERE before.lane = :application::text || '/' || :environment::text AND before.finished_at IS NULL))
    FROM accepted
)
INSERT INTO destination (deployment_id, reply_to, correlation_id)
SELECT accepted.deployment_id, to_tell.reply_to, to_tell.correlation_id
FROM accepted, (
    SELECT NULL::text AS reply_to, NULL::text AS correlation_id
    UNION ALL SELECT :reply_to::text, :correlation_id::text WHERE :reply_to IS NOT NULL
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
SELECT application, environment, version, state, finished_at IS NOT NULL AS finished, last_control,
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
