-- A lane can be locked: nothing in it begins until somebody unlocks it or ``locked_until`` comes. A locked lane may never
-- have had a deployment, so its counter may be 0. The release before neither reads nor writes these columns: locks hold
-- when all instances are new.

ALTER TABLE lane DROP CONSTRAINT lane_arrivals_check;
ALTER TABLE lane ADD CONSTRAINT lane_arrivals_check CHECK (arrivals >= 0);
ALTER TABLE lane ADD COLUMN locked_at timestamptz;
ALTER TABLE lane ADD COLUMN locked_until timestamptz;
ALTER TABLE lane ADD COLUMN lock jsonb;
COMMENT ON COLUMN lane.locked_at IS 'Since when nothing in the lane begins; null: it is not locked';
COMMENT ON COLUMN lane.locked_until IS 'When the lock ends by itself; null: when somebody unlocks the lane';
COMMENT ON COLUMN lane.lock IS 'Who locked it and why: requested_by, identity, reason, and deployment where a limit did it';

ALTER TABLE deployment ADD COLUMN break_glass text;
COMMENT ON COLUMN deployment.break_glass IS 'The reason why it may go past locks, freezes and a missing promotion';
