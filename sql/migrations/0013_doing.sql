-- What the targets of a running deployment are doing right now: a hint, written by its owner at most once a second.
-- Unlogged: it costs no WAL, and after a crash of the server it is empty, which nothing minds. The release before
-- neither reads nor writes it, and its clean-up of a deployment takes the row along.

CREATE UNLOGGED TABLE doing (
    deployment_id text PRIMARY KEY REFERENCES deployment ON DELETE CASCADE,
    epoch bigint NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    steps json NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE doing IS 'What the targets of a running deployment do right now, by its owner; a hint, and unlogged';
