-- Servers that a result left drained in HAProxy, until somebody sees them in traffic again: the next deployment that
-- finds one there, or an instance that looks (docs/metrics.md).

CREATE TABLE left_drained (
    lane text NOT NULL REFERENCES lane,
    target text NOT NULL,
    deployment_id text NOT NULL REFERENCES deployment ON DELETE CASCADE,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (lane, target)
);
COMMENT ON TABLE left_drained IS 'Servers out of traffic because of a result, to be mended and put back';
CREATE INDEX left_drained_of_deployment ON left_drained (deployment_id);
