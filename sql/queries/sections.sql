-- Sections that one deployment at a time is in.

-- name: make_section!
-- In a transaction of its own: others would wait for one that is open.
INSERT INTO section (name) VALUES (:name) ON CONFLICT DO NOTHING;

-- name: allow_waiting
-- For this transaction: wait so long for another instance, and let the server wait while we talk to a load balancer.
SELECT set_config('lock_timeout', :wait, true), set_config('idle_in_transaction_session_timeout', '60s', true);

-- name: lock_section
-- Be in it until the end of the transaction.
SELECT name FROM section WHERE name = :name FOR UPDATE;
