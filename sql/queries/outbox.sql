-- The outbox: events from a destination's cursor on.

-- name: lease_deliveries
-- Destinations with something due that nobody else publishes to; those not yet leased to this publisher come first. In
-- turn from each queue, and of the topic exchange from each application: thousands of deployments of one requester must
-- not hold up another's.
WITH ranked AS (
    SELECT destination_id, row_number() OVER (
        PARTITION BY reply_to, CASE WHEN reply_to IS NULL THEN application END ORDER BY next_attempt_at, destination_id
    ) AS place
    FROM destination JOIN deployment USING (deployment_id)
    WHERE NOT done AND parked_at IS NULL AND next_attempt_at <= clock_timestamp() AND cursor < next_sequence - 1
      AND (publisher IS NULL OR publisher = :publisher OR publisher_expires_at < clock_timestamp())
), due AS (
    SELECT destination_id FROM destination JOIN ranked USING (destination_id)
    WHERE NOT done AND parked_at IS NULL AND next_attempt_at <= clock_timestamp()
      AND (publisher IS NULL OR publisher = :publisher OR publisher_expires_at < clock_timestamp())
    ORDER BY (publisher IS NOT DISTINCT FROM :publisher), place, next_attempt_at, destination_id
    LIMIT :limit
    FOR UPDATE OF destination SKIP LOCKED
)
UPDATE destination SET
    publisher = :publisher, publisher_expires_at = clock_timestamp() + make_interval(secs => :seconds)
FROM due WHERE destination.destination_id = due.destination_id
RETURNING destination.destination_id, deployment_id, reply_to, correlation_id, cursor,
    coalesce(EXTRACT(epoch FROM clock_timestamp() - failing_since), 0)::double precision AS failing_seconds;

-- name: events_after
-- Complete events of several askers, in order; "asker" counts from 1.
SELECT asked.asker, event.deployment_id, event.sequence, event.name, event.instance, event.occurred_at, event.body,
       deployment.application, deployment.environment, deployment.version
FROM unnest(:deployments::text[], :cursors::bigint[], :limits::int[])
    WITH ORDINALITY AS asked (deployment_id, cursor, most, asker)
JOIN deployment USING (deployment_id)
CROSS JOIN LATERAL (
    SELECT * FROM event
    WHERE event.deployment_id = asked.deployment_id AND event.sequence > asked.cursor
    ORDER BY event.sequence LIMIT asked.most
) AS event
ORDER BY asked.asker, event.sequence;

-- name: advance
-- Destinations, each confirmed up to its cursor; done when that was the result. One that does not come back has another
-- publisher now, or was set back.
UPDATE destination SET
    cursor = greatest(destination.cursor, told.cursor),
    done = deployment.finished_at IS NOT NULL AND greatest(destination.cursor, told.cursor) >= deployment.next_sequence - 1,
    failing_since = NULL,
    reason = NULL,
    publisher = CASE WHEN told.release THEN NULL ELSE destination.publisher END,
    publisher_expires_at = CASE WHEN told.release THEN NULL ELSE destination.publisher_expires_at END
FROM unnest(:ids::bigint[], :publishers::text[], :cursors::bigint[], :releases::boolean[])
    AS told (destination_id, publisher, cursor, release), deployment
WHERE destination.destination_id = told.destination_id AND destination.publisher = told.publisher
  AND deployment.deployment_id = destination.deployment_id
RETURNING destination.destination_id;

-- name: postpone!
-- Could not be delivered: later again.
UPDATE destination SET
    next_attempt_at = clock_timestamp() + make_interval(secs => :seconds),
    failing_since = coalesce(failing_since, clock_timestamp()),
    reason = :reason,
    publisher = NULL,
    publisher_expires_at = NULL
WHERE destination_id = :destination_id AND publisher = :publisher;

-- name: park!
-- Given up until a repeat of the request asks again.
UPDATE destination SET
    parked_at = clock_timestamp(),
    failing_since = coalesce(failing_since, clock_timestamp()),
    reason = :reason,
    publisher = NULL,
    publisher_expires_at = NULL
WHERE destination_id = :destination_id AND publisher = :publisher;
