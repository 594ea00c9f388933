-- What haproxy.backend "*" found at the start (by load balancer and server, the backends), and the servers that
-- deployments with a list of backends, or with "*", left drained. These stand in a table of their own, with the columns
-- of left_drained: the release before would ask HAProxy for a backend of that name, find none, and forget them.

ALTER TABLE deployment ADD COLUMN found_backends jsonb;

CREATE TABLE left_drained_several (
    lane text NOT NULL REFERENCES lane,
    target text NOT NULL,
    deployment_id text NOT NULL REFERENCES deployment ON DELETE CASCADE,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz,
    seen_by text,

    PRIMARY KEY (lane, target)
);
COMMENT ON TABLE left_drained_several IS 'As left_drained, of deployments whose haproxy.backend is a list or "*"';
CREATE INDEX left_drained_several_of_deployment ON left_drained_several (deployment_id);
