-- Who works on this record: one row for each running instance, written by itself. Rows of instances that are gone stay
-- for a while, so that people see who was there last. The release before neither reads nor writes it.

CREATE TABLE instance (
    name text PRIMARY KEY CHECK (name <> ''),
    version text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    in_work integer NOT NULL CHECK (in_work >= 0),
    draining boolean NOT NULL,
    stopped_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE instance IS 'Instances that run, and for some days those that did; an instance writes its own row';
