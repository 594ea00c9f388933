-- Cancels that came before their deploy event (docs/decisions.md 59).

-- name: hold_unknown_id
-- Take the id as its deploy event would, so that none is accepted before the end of this transaction; waits for one that is
-- being accepted. Comes back if it was not known. release_unknown_id must follow.
INSERT INTO known_request (deployment_id, body_hash) VALUES (:deployment_id, '')
ON CONFLICT (deployment_id) DO NOTHING RETURNING deployment_id;

-- name: release_unknown_id!
-- Nobody has seen it; the id stays held until the transaction ends.
DELETE FROM known_request WHERE deployment_id = :deployment_id;

-- name: count_in_turn
-- One of an identity at a time, so that its cancels are counted right.
SELECT pg_advisory_xact_lock(hashtextextended('early cancel of ' || :identity::text, 0));

-- name: drop_old_cancels!
-- What was kept for long enough.
DELETE FROM early_cancel WHERE kept_at < clock_timestamp() - make_interval(secs => :kept_seconds);

-- name: keep_cancel
-- Until the deploy event comes. No row: the identity has so many already.
INSERT INTO early_cancel (deployment_id, identity, asker, requested_by, reason)
SELECT :deployment_id::text, :identity::text, :asker::jsonb, :requested_by::text, :reason::text
WHERE EXISTS (SELECT FROM early_cancel WHERE deployment_id = :deployment_id AND identity = :identity)
   OR (SELECT count(*) FROM early_cancel WHERE identity = :identity) < :most::integer
ON CONFLICT (deployment_id, identity) DO UPDATE SET kept_at = clock_timestamp()
RETURNING deployment_id;

-- name: kept_cancels
-- Of ids that are being accepted, the oldest first.
SELECT deployment_id, asker, requested_by, reason FROM early_cancel
WHERE deployment_id = ANY(:deployment_ids::text[])
  AND kept_at >= clock_timestamp() - make_interval(secs => :kept_seconds)
ORDER BY kept_at;

-- name: overlooked_cancels
-- Of deployments that are there all the same: an instance of the release before has accepted them. ``deployment_id`` null:
-- of any.
SELECT deployment_id, asker, requested_by, reason FROM early_cancel
WHERE (deployment_id = :deployment_id::text OR :deployment_id::text IS NULL)
  AND kept_at >= clock_timestamp() - make_interval(secs => :kept_seconds)
  AND EXISTS (SELECT FROM deployment WHERE deployment.deployment_id = early_cancel.deployment_id)
ORDER BY kept_at LIMIT 100;

-- name: forget_cancels!
-- They were judged: those of one identity, or of all (null).
DELETE FROM early_cancel
WHERE deployment_id = ANY(:deployment_ids::text[]) AND (identity = :identity::text OR :identity::text IS NULL);
