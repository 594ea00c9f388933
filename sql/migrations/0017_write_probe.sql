-- What an instance writes to see whether the record can be written: one row, and room for some pages that are written
-- and deleted again when a write was refused. The release before neither reads nor writes it.

CREATE TABLE write_probe (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE write_probe IS 'One row that every instance updates every second: the record can be written';

CREATE TABLE write_probe_filler (filler text NOT NULL);
ALTER TABLE write_probe_filler ALTER COLUMN filler SET STORAGE PLAIN;
COMMENT ON TABLE write_probe_filler IS 'Always empty: its pages are written when a write was refused, for a full disk';
