-- The order of work (docs/decisions.md 63): claims go round the identities that wait, and round the lanes of each.
-- A deployment is not due before its not_before. The release before neither reads nor writes these columns and this
-- table: it goes on taking what waits longest, and what it accepts counts as asked for without an identity. not_before,
-- not_after and quotas hold when all instances are new.

ALTER TABLE deployment ADD COLUMN not_before timestamptz;
ALTER TABLE deployment ADD COLUMN not_after timestamptz;
ALTER TABLE deployment ADD COLUMN due boolean NOT NULL DEFAULT true;
ALTER TABLE deployment ADD COLUMN requester text NOT NULL DEFAULT '';
ALTER TABLE deployment ADD COLUMN quotas text[] NOT NULL DEFAULT '{}';
ALTER TABLE deployment ADD COLUMN queue text NOT NULL DEFAULT '';
COMMENT ON COLUMN deployment.due IS 'False until not_before has come and an instance has seen that';
COMMENT ON COLUMN deployment.requester IS 'Who waits for a turn: person:NAME or KIND:NAME, shortened; empty: no identity';
COMMENT ON COLUMN deployment.quotas IS 'What it counts for: each the name of a limit, a space, and what that counts';
COMMENT ON COLUMN deployment.queue IS 'A digest of quotas: what waits for the same requester and quotas waits in one queue';

CREATE TABLE turn (
    requester text NOT NULL,
    queue text NOT NULL,
    last_lane text NOT NULL,
    last_epoch bigint NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (requester, queue)
);
COMMENT ON TABLE turn IS 'When each requester had its last turn (last_epoch, of that claim), and in which lane';

CREATE TABLE quota (name text PRIMARY KEY);
COMMENT ON TABLE quota IS 'Rows that are locked while a claim counts what runs of a quota';

-- What may be claimed: by requester, queue and lane to walk from one to the next, and by lane for its first.
CREATE INDEX deployment_waiting ON deployment (requester, queue, lane) WHERE state = 'pending' AND due;
CREATE INDEX deployment_next ON deployment (lane, arrival) WHERE state = 'pending' AND due;
-- What goes past a lock of its lane.
CREATE INDEX deployment_past_lock ON deployment (lane, arrival)
    WHERE state = 'pending' AND due AND (break_glass IS NOT NULL OR request @> '{"dry_run": true}');
-- What is not due yet, and what must have begun by a time.
CREATE INDEX deployment_not_due ON deployment (not_before) WHERE state = 'pending' AND NOT due;
CREATE INDEX deployment_expiring ON deployment (not_after)
    WHERE not_after IS NOT NULL AND finished_at IS NULL;
