-- Which installation this record belongs to: two of them on one database would take each other's deployments.
-- One row, written by the first instance that finds none. The release before does not look at it.

CREATE TABLE installation (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    namespace text NOT NULL CHECK (namespace <> ''),
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE installation IS 'The amqp.namespace whose instances work on this record';
