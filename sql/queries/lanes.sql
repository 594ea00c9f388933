-- Locks of lanes: while one holds, what waits does not begin (leases.sql), and deploy events are refused.

-- name: lock_lane_until
-- Whether anything was ever deployed there or not. A second lock replaces the first, unless only a longer one may
-- (``keeps_longer``). No row: ``until`` is over already, or the lock that is there holds longer.
INSERT INTO lane (name, arrivals, locked_at, locked_until, lock)
SELECT :lane::text, 0, clock_timestamp(), asked.until, :lock::jsonb
FROM (SELECT to_timestamp(:until::double precision) AS until) AS asked
WHERE asked.until IS NULL OR asked.until > clock_timestamp()
ON CONFLICT (name) DO UPDATE SET
    locked_at = excluded.locked_at, locked_until = excluded.locked_until, lock = excluded.lock
WHERE NOT (:keeps_longer::boolean AND lane.locked_at IS NOT NULL AND lane.locked_until IS NULL)
RETURNING name;

-- name: unlock_lane!
-- It may not have been locked.
UPDATE lane SET locked_at = NULL, locked_until = NULL, lock = NULL WHERE name = :lane AND locked_at IS NOT NULL;

-- name: lane_lock
-- The lock that holds now.
SELECT locked_at, locked_until, lock FROM lane
WHERE name = :lane AND locked_at IS NOT NULL AND (locked_until IS NULL OR locked_until > clock_timestamp());

-- name: count_locked_lanes
-- How many are locked now.
SELECT count(*) FROM lane WHERE locked_at IS NOT NULL AND (locked_until IS NULL OR locked_until > clock_timestamp());

-- name: locked_lanes
-- All that hold now, the oldest first.
SELECT name AS lane, locked_at, locked_until, lock FROM lane
WHERE locked_at IS NOT NULL AND (locked_until IS NULL OR locked_until > clock_timestamp())
ORDER BY locked_at, name LIMIT :limit;
