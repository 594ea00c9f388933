-- Claims and leases: who works on what.

-- name: find_work
-- What may be claimed next: first what an instance has left (handed back, or its lease has run out); then the requester
-- whose last turn was longest ago, of its queues likewise, and of the lanes in which it waits the one after the last. In
-- that lane it is the first that waits, whoever asked for it. Nothing is begun in a lane with an active deployment, past
-- a lock, after its not_after, or beyond a quota (``limits``: names, and ``most``: how many at once). Walks from one to the
-- next over the indexes of what waits, so that a thousand waiting in one lane cost as much as one. ``locking``: with the
-- rows of lane and deployment locked; what others have locked is passed over: one deployment whose row a dead connection
-- still holds must not keep the others waiting.
WITH RECURSIVE filled AS (
    SELECT coalesce(array_agg(busy.quota), '{}') AS quotas
    FROM (SELECT quota, count(*) AS running FROM deployment, unnest(quotas) AS quota
          WHERE state IN ('running', 'paused', 'rolling_back') GROUP BY quota) AS busy
    JOIN unnest(:limits::text[], :most::integer[]) AS allowed (name, most) ON allowed.name = split_part(busy.quota, ' ', 1)
    WHERE busy.running >= allowed.most
), queue AS (
    (SELECT requester, queue, quotas FROM deployment
     WHERE state = 'pending' AND due ORDER BY requester, queue LIMIT 1)
    UNION ALL
    SELECT following.* FROM queue, LATERAL (
        SELECT requester, queue, quotas FROM deployment
        WHERE state = 'pending' AND due
          AND (deployment.requester, deployment.queue) > (queue.requester, queue.queue)
        ORDER BY requester, queue LIMIT 1) AS following
), in_turn AS (
    SELECT queue.requester, queue.queue, coalesce(turn.last_lane, '') AS last_lane
    FROM queue LEFT JOIN turn USING (requester, queue)
    CROSS JOIN LATERAL (
        SELECT max(last_epoch) AS last_epoch FROM turn AS any_turn WHERE any_turn.requester = queue.requester
    ) AS last_turn
    WHERE NOT queue.quotas && (SELECT quotas FROM filled)
    ORDER BY last_turn.last_epoch NULLS FIRST, turn.last_epoch NULLS FIRST, queue.requester, queue.queue
)
(SELECT abandoned.deployment_id, abandoned.lane, NULL::text AS requester, NULL::text AS queue, abandoned.quotas
 FROM (SELECT deployment_id, lane, quotas FROM deployment
       WHERE state IN ('running', 'paused', 'rolling_back')
         AND (owner IS NULL OR lease_expires_at < clock_timestamp())
       ORDER BY accepted_at) AS abandoned
 CROSS JOIN LATERAL (
     SELECT 1 WHERE NOT :locking::boolean
     UNION ALL
     SELECT 1 FROM (SELECT FROM deployment WHERE :locking AND deployment.deployment_id = abandoned.deployment_id
                  FOR UPDATE SKIP LOCKED) AS locked
 ) AS held
 LIMIT 1)
UNION ALL
(SELECT first.deployment_id, walked.lane, in_turn.requester, in_turn.queue, first.quotas
 FROM in_turn
 CROSS JOIN LATERAL (
    WITH RECURSIVE later AS (
        (SELECT lane FROM deployment
         WHERE state = 'pending' AND due AND deployment.requester = in_turn.requester
           AND deployment.queue = in_turn.queue AND lane > in_turn.last_lane ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT following.lane FROM later, LATERAL (
            SELECT lane FROM deployment
            WHERE state = 'pending' AND due AND deployment.requester = in_turn.requester
              AND deployment.queue = in_turn.queue AND lane > later.lane ORDER BY lane LIMIT 1) AS following
    ), from_the_first AS (
        (SELECT lane FROM deployment
         WHERE state = 'pending' AND due AND deployment.requester = in_turn.requester
           AND deployment.queue = in_turn.queue AND lane <= in_turn.last_lane ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT following.lane FROM from_the_first, LATERAL (
            SELECT lane FROM deployment
            WHERE state = 'pending' AND due AND deployment.requester = in_turn.requester
              AND deployment.queue = in_turn.queue AND lane > from_the_first.lane AND lane <= in_turn.last_lane
            ORDER BY lane LIMIT 1) AS following
    )
    SELECT lane FROM later UNION ALL SELECT lane FROM from_the_first
 ) AS walked
 CROSS JOIN LATERAL (
    SELECT locked_at IS NOT NULL AND (locked_until IS NULL OR locked_until > clock_timestamp()) AS locked
    FROM lane WHERE lane.name = walked.lane OFFSET 0
 ) AS place
 CROSS JOIN LATERAL (
    (SELECT deployment_id, quotas, not_after FROM deployment
     WHERE NOT place.locked AND deployment.lane = walked.lane AND state = 'pending' AND due ORDER BY arrival LIMIT 1)
    UNION ALL
    (SELECT deployment_id, quotas, not_after FROM deployment
     WHERE place.locked AND deployment.lane = walked.lane AND state = 'pending' AND due
       AND (break_glass IS NOT NULL OR request @> '{"dry_run": true}') ORDER BY arrival LIMIT 1)
 ) AS first
 CROSS JOIN LATERAL (
     SELECT 1 WHERE NOT :locking
     UNION ALL
     SELECT 1 FROM (SELECT FROM lane JOIN deployment ON deployment.deployment_id = first.deployment_id
                  WHERE :locking AND lane.name = walked.lane FOR UPDATE SKIP LOCKED) AS locked
 ) AS held
 WHERE (first.not_after IS NULL OR first.not_after > clock_timestamp())
   AND NOT first.quotas && (SELECT quotas FROM filled)
   AND NOT EXISTS (SELECT FROM deployment AS active
                   WHERE active.lane = walked.lane AND active.state IN ('running', 'paused', 'rolling_back'))
 LIMIT 1)
LIMIT 1;

-- name: lock_lane
-- Wait for a lane that others have locked (its next event is being accepted, or it is being claimed).
SELECT name FROM lane WHERE name = :lane FOR UPDATE;

-- name: hold_quotas
-- One claim at a time counts what runs of a quota: the other one sees what this one began.
INSERT INTO quota (name) SELECT name FROM unnest(:names::text[]) AS held (name) ORDER BY name
ON CONFLICT (name) DO UPDATE SET name = excluded.name;

-- name: take
-- With the lane locked, look again (find_work has the rules), and take it if it may be claimed. A row that is locked (its
-- owner writes just now) is not waited for. What the row was before is in the answer. Its requester had its turn.
WITH filled AS (
    SELECT coalesce(array_agg(busy.quota), '{}') AS quotas
    FROM (SELECT quota, count(*) AS running FROM deployment, unnest(quotas) AS quota
          WHERE state IN ('running', 'paused', 'rolling_back') GROUP BY quota) AS busy
    JOIN unnest(:limits::text[], :most::integer[]) AS allowed (name, most) ON allowed.name = split_part(busy.quota, ' ', 1)
    WHERE busy.running >= allowed.most
), chosen AS (
    SELECT deployment_id, state, owner, last_owner, expiries FROM deployment
    WHERE deployment_id = :deployment_id AND (
        state IN ('running', 'paused', 'rolling_back') AND (owner IS NULL OR lease_expires_at < clock_timestamp())
        OR state = 'pending' AND due AND (not_after IS NULL OR not_after > clock_timestamp())
           AND NOT quotas && (SELECT quotas FROM filled)
           AND NOT EXISTS (SELECT FROM deployment AS active WHERE active.lane = deployment.lane
                           AND active.state IN ('running', 'paused', 'rolling_back'))
           AND arrival = (
               SELECT CASE WHEN locked_at IS NOT NULL AND (locked_until IS NULL OR locked_until > clock_timestamp())
                   THEN (SELECT min(arrival) FROM deployment AS waiting
                         WHERE waiting.lane = lane.name AND state = 'pending' AND due
                           AND (break_glass IS NOT NULL OR request @> '{"dry_run": true}'))
                   ELSE (SELECT min(arrival) FROM deployment AS waiting
                         WHERE waiting.lane = lane.name AND state = 'pending' AND due) END
               FROM lane WHERE lane.name = deployment.lane))
    FOR UPDATE OF deployment SKIP LOCKED
), taken AS (
    UPDATE deployment SET
        state = CASE deployment.state WHEN 'pending' THEN 'running' ELSE deployment.state END,
        owner = :instance,
        last_owner = :instance,
        epoch = nextval('vesemir_epoch'),
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        claimed_at = coalesce(deployment.claimed_at, clock_timestamp()),
        expiries = deployment.expiries + CASE WHEN chosen.owner IS NULL THEN 0 ELSE 1 END,
        takeovers = deployment.takeovers + CASE WHEN chosen.last_owner IS NULL THEN 0 ELSE 1 END,
        next_sequence = deployment.next_sequence + CASE WHEN chosen.last_owner IS NULL THEN 0 ELSE 1 END,
        last_write = :token
    FROM chosen
    WHERE deployment.deployment_id = chosen.deployment_id
    RETURNING deployment.deployment_id, lane, epoch, next_sequence, chosen.last_owner AS previous, chosen.expiries,
        chosen.owner IS NOT NULL AS ran_out, chosen.state = 'pending' AS begins
), had_its_turn AS (
    INSERT INTO turn (requester, queue, last_lane, last_epoch)
    SELECT :requester::text, :queue::text, lane, epoch FROM taken WHERE begins AND :requester IS NOT NULL
    ON CONFLICT (requester, queue) DO UPDATE SET
        last_lane = excluded.last_lane, last_epoch = excluded.last_epoch, begun_at = excluded.begun_at
)
SELECT * FROM taken;

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
