-- A record that was restored from a backup.

-- name: raise_epochs
-- Higher than any epoch that the lost record can have given out. Comes back with the next one's lower bound.
SELECT setval('vesemir_epoch', (SELECT last_value FROM vesemir_epoch) + :epochs::bigint);

-- name: mark_restored
-- The record was restored from a backup: ids of older events are refused until that is accepted.
INSERT INTO restored DEFAULT VALUES RETURNING restored_at;

-- name: accept_repeats
-- From now on older events are taken again. Comes back with the restores that this is said of.
UPDATE restored SET repeats_accepted_at = clock_timestamp() WHERE repeats_accepted_at IS NULL RETURNING restored_at;

-- name: restored_since
-- The last restore whose older events are refused, if there is one.
SELECT max(restored_at) FROM restored WHERE repeats_accepted_at IS NULL;
