-- What the clean-up leaves of a deployment beside its id and its body's hash: its result, for a repeat of the request.
CREATE TABLE kept_result (
    deployment_id text PRIMARY KEY REFERENCES known_request,
    application text NOT NULL,
    environment text NOT NULL,
    version text NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    instance text NOT NULL,
    occurred_at timestamptz NOT NULL,
    body json NOT NULL,
    cleaned_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE kept_result IS 'The deployment.finished of deployments whose record was cleaned up, or is being';

-- One instance at a time cleans up.
INSERT INTO section (name) VALUES ('clean-up') ON CONFLICT DO NOTHING;
