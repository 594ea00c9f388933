-- What HAProxy said of a target's server at its end, and what instances have seen since of servers that were left
-- drained. NULL: not known. The release before neither reads nor writes these columns.

ALTER TABLE target ADD COLUMN in_traffic boolean, ADD COLUMN back_in_traffic_at timestamptz;
COMMENT ON COLUMN target.in_traffic IS 'UP and ready with a weight above 0 on every load balancer, at the target''s end';
COMMENT ON COLUMN target.back_in_traffic_at IS 'This deployment left its server drained; it was seen in traffic again';

ALTER TABLE left_drained ADD COLUMN seen_at timestamptz, ADD COLUMN seen_by text;
COMMENT ON COLUMN left_drained.seen_at IS 'When an instance saw it still drained last; one before since is of an earlier row';

ALTER TABLE outcome ADD COLUMN targets_serving integer, ADD COLUMN targets_unserved integer;
COMMENT ON COLUMN outcome.targets_serving IS 'Targets that succeeded and got traffic at their end';
COMMENT ON COLUMN outcome.targets_unserved IS 'Targets that succeeded and got none';
