-- Servers that people put back into traffic or took out of it by `vesemir ready` and `vesemir drain`: who, why and when.
-- The last order for a server says what is wanted now. The release before neither reads nor writes it.

CREATE TABLE server_order (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane text NOT NULL REFERENCES lane,
    target text NOT NULL,
    command text NOT NULL CHECK (command IN ('ready', 'drain')),
    deployment_id text NOT NULL,
    traffic jsonb,
    backend text NOT NULL DEFAULT '',
    requested_by text NOT NULL,
    reason text,
    ordered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE server_order IS 'What people ordered by hand for servers; traffic is what a drain found';
COMMENT ON COLUMN server_order.deployment_id IS 'The one whose load balancers, backend and server name were used';
COMMENT ON COLUMN server_order.backend IS 'That of the places in traffic that name none';
CREATE INDEX server_order_of_target ON server_order (lane, target, order_id);
