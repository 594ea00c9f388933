-- name: allow_idle
-- The server may wait for us while we talk to a load balancer.
SET LOCAL idle_in_transaction_session_timeout = '60s';

-- name: make_section!
INSERT INTO section (name) VALUES (:name) ON CONFLICT DO NOTHING;

-- name: lock_section
-- No row: somebody else is in it.
SELECT name FROM section WHERE name = :name FOR UPDATE SKIP LOCKED;
