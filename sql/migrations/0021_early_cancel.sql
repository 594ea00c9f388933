-- Cancels that came before their deploy event: kept for a day, and judged when it comes (docs/decisions.md 59). The release
-- before neither reads nor writes this table; what it accepts is cancelled by an instance that does.

CREATE TABLE early_cancel (
    deployment_id text NOT NULL,
    identity text NOT NULL,
    asker jsonb NOT NULL,
    requested_by text,
    reason text,
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (deployment_id, identity)
);
COMMENT ON TABLE early_cancel IS 'Cancels of ids that were never accepted, one for each identity that asked';
COMMENT ON COLUMN early_cancel.identity IS 'KIND:NAME of who asked; empty: no identity';
CREATE INDEX early_cancel_identity ON early_cancel (identity, kept_at);
