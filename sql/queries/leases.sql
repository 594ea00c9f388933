-- Claims and leases: who works on what.

-- name: due_lane
-- A lane whose lowest unfinished arrival may be claimed, the longest waiting first. Locks nothing. Steps from lane to
-- lane over the index of what is unfinished, so that a thousand waiting in one lane cost as much as one.
WITH RECURSIVE head AS (
    (SELECT lane, arrival, owner, lease_expires_at, accepted_at
     FROM deployment WHERE finished_at IS NULL ORDER BY lane, arrival LIMIT 1)
    UNION ALL
    SELECT following.* FROM head, LATERAL (
        SELECT lane, arrival, owner, lease_expires_at, accepted_at
        FROM deployment WHERE finished_at IS NULL AND lane > head.lane ORDER BY lane, arrival LIMIT 1) AS following
)
SELECT lane FROM head
WHERE owner IS NULL OR lease_expires_at < clock_timestamp()
ORDER BY accepted_at LIMIT 1;

-- name: lock_due_lane
-- The same, and lock its row and the deployment's. What others have locked is passed over: one deployment whose row a
-- dead connection still holds must not keep every other lane waiting.
WITH RECURSIVE head AS (
    (SELECT lane, arrival, deployment_id, owner, lease_expires_at, accepted_at
     FROM deployment WHERE finished_at IS NULL ORDER BY lane, arrival LIMIT 1)
    UNION ALL
    SELECT following.* FROM head, LATERAL (
        SELECT lane, arrival, deployment_id, owner, lease_expires_at, accepted_at
        FROM deployment WHERE finished_at IS NULL AND lane > head.lane ORDER BY lane, arrival LIMIT 1) AS following
)
SELECT lane.name FROM head
JOIN lane ON lane.name = head.lane
JOIN deployment AS locked ON locked.deployment_id = head.deployment_id
WHERE head.owner IS NULL OR head.lease_expires_at < clock_timestamp()
ORDER BY head.accepted_at LIMIT 1
FOR UPDATE OF lane, locked SKIP LOCKED;

-- name: lock_lane
-- Wait for a lane that others have locked (its next event is being accepted, or it is being claimed).
SELECT name FROM lane WHERE name = :lane FOR UPDATE;

-- name: take_head
-- With the lane locked, look again, and take its lowest unfinished arrival if it may be claimed. A row that is locked
-- (its owner writes just now) is not waited for. What the row was before is in the answer.
WITH head AS (
    SELECT deployment_id, owner, last_owner, expiries FROM deployment
    WHERE lane = :lane AND finished_at IS NULL
      AND arrival = (SELECT min(arrival) FROM deployment WHERE lane = :lane AND finished_at IS NULL)
      AND (owner IS NULL OR lease_expires_at < clock_timestamp())
    FOR UPDATE SKIP LOCKED
)
UPDATE deployment AS taken SET
    state = CASE taken.state WHEN 'pending' THEN 'running' ELSE taken.state END,
    owner = :instance,
    last_owner = :instance,
    epoch = nextval('vesemir_epoch'),
    lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
    claimed_at = coalesce(taken.claimed_at, clock_timestamp()),
    expiries = taken.expiries + CASE WHEN head.owner IS NULL THEN 0 ELSE 1 END,
    takeovers = taken.takeovers + CASE WHEN head.last_owner IS NULL THEN 0 ELSE 1 END,
    next_sequence = taken.next_sequence + CASE WHEN head.last_owner IS NULL THEN 0 ELSE 1 END,
    last_write = :token
FROM head
WHERE taken.deployment_id = head.deployment_id
RETURNING taken.deployment_id, taken.epoch, taken.next_sequence, head.last_owner AS previous, head.expiries,
    head.owner IS NOT NULL AS ran_out;

-- name: doubt_running_targets!
-- What a former owner had in work must be verified before anything is redone.
UPDATE target SET state = 'unknown' WHERE deployment_id = :deployment_id AND state = 'running';

-- name: find_claim
-- Whether a claim whose answer was lost is there. Whether it counted as an expiry is not known: rather one try too many.
SELECT taken.deployment_id, taken.epoch, taken.next_sequence, told.body ->> 'previous_instance' AS previous,
       greatest(taken.expiries - 1, 0) AS expiries, false AS ran_out
FROM deployment AS taken
LEFT JOIN event AS told ON told.deployment_id = taken.deployment_id AND told.name = 'deployment.taken_over'
    AND told.sequence = taken.next_sequence - 1
WHERE taken.owner = :instance AND taken.last_write = :token;

-- name: renew_free
-- Renew what is still this owner's and locked by nobody.
WITH mine AS (
    SELECT deployment_id FROM deployment
    JOIN unnest(:deployment_ids::text[], :epochs::bigint[]) AS held (deployment_id, epoch) USING (deployment_id, epoch)
    WHERE owner = :owner
    ORDER BY deployment_id FOR UPDATE OF deployment SKIP LOCKED
)
UPDATE deployment SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM mine WHERE deployment.deployment_id = mine.deployment_id
RETURNING deployment.deployment_id, cancel_wish, pause_wish, resume_wish, approvals;

-- name: wait_for_lock
-- For this transaction.
SELECT set_config('lock_timeout', :wait, true);

-- name: renew
-- Renew what is still this owner's, in one order so that two renewals cannot wait for each other.
WITH mine AS (
    SELECT deployment_id FROM deployment
    JOIN unnest(:deployment_ids::text[], :epochs::bigint[]) AS held (deployment_id, epoch) USING (deployment_id, epoch)
    WHERE owner = :owner
    ORDER BY deployment_id FOR UPDATE OF deployment
)
UPDATE deployment SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM mine WHERE deployment.deployment_id = mine.deployment_id
RETURNING deployment.deployment_id, cancel_wish, pause_wish, resume_wish, approvals;

-- name: wishes_of_owner
-- What control messages asked of everything that this owner has.
SELECT deployment_id, cancel_wish, pause_wish, resume_wish, approvals FROM deployment WHERE owner = :owner;

-- name: hand_back!
-- Give a lease up. The state stays: a rollback or a pause must survive its instance.
UPDATE deployment SET owner = NULL, lease_expires_at = NULL
WHERE deployment_id = :deployment_id AND owner = :owner AND epoch = :epoch;
