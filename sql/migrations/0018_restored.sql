-- That this record was restored from a backup, once a row. What was accepted since the backup is not in it, and may have
-- run: ids that it does not know are refused, if their event is older, until the operator says otherwise. The release
-- before does not look at it and accepts them: restore with instances of this release (docs/restore.md).

CREATE TABLE restored (
    restored_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    repeats_accepted_at timestamptz
);
COMMENT ON TABLE restored IS 'Restores from a backup, and when the operator accepted repeats of older events again';
