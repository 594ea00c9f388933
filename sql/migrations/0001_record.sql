-- The record: deployments, their targets and steps, and the events that are also the outbox.
-- Invariants stand here as constraints: the database, not the code, makes an overlap impossible. docs/database.md
-- explains the tables one by one. Needs PostgreSQL 15 or later (NULLS NOT DISTINCT).

-- Fencing tokens: a later claim of any deployment has a higher one.
CREATE SEQUENCE vesemir_epoch;

CREATE TABLE lane (
    name text PRIMARY KEY,
    arrivals bigint NOT NULL CHECK (arrivals > 0)
);
COMMENT ON TABLE lane IS 'One (application, environment); its row is locked by intake and by claims';

CREATE TABLE known_request (
    deployment_id text PRIMARY KEY,
    body_hash bytea NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE known_request IS 'Every id ever accepted; outlives the clean-up of its deployment';

CREATE TABLE deployment (
    deployment_id text PRIMARY KEY REFERENCES known_request,
    request jsonb NOT NULL,
    application text NOT NULL,
    environment text NOT NULL,
    version text NOT NULL,
    recipe text NOT NULL,
    team text,
    requested_by text,
    user_id text,
    lane text NOT NULL GENERATED ALWAYS AS (application || '/' || environment) STORED REFERENCES lane,
    arrival bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending',
    failure jsonb,
    metrics jsonb,
    next_sequence bigint NOT NULL DEFAULT 1 CHECK (next_sequence > 0),
    -- who works on it
    owner text,
    last_owner text,
    epoch bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    expiries integer NOT NULL DEFAULT 0 CHECK (expiries >= 0),
    takeovers integer NOT NULL DEFAULT 0 CHECK (takeovers >= 0),
    last_write text,
    -- what control messages asked for
    cancel_wish jsonb,
    pause_wish jsonb,
    resume_wish jsonb,
    approvals integer NOT NULL DEFAULT 0 CHECK (approvals >= 0),
    awaits_approval boolean NOT NULL DEFAULT false,
    last_control text,
    -- when, by the database's clock
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    clock_started_at timestamptz,
    paused_since timestamptz,
    paused_seconds double precision NOT NULL DEFAULT 0 CHECK (paused_seconds >= 0),
    resolve_seconds double precision,
    -- the load balancer boxes, as the inventory resolved them at the start
    balancers jsonb NOT NULL DEFAULT '[]',

    CONSTRAINT deployment_arrival UNIQUE (lane, arrival),
    CONSTRAINT deployment_state_known CHECK (state IN (
        'pending', 'running', 'paused', 'rolling_back', 'succeeded', 'failed', 'cancelled', 'timed_out', 'rolled_back')),
    CONSTRAINT deployment_final_is_finished CHECK (
        (finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'rolled_back'))),
    CONSTRAINT deployment_final_has_no_owner CHECK (finished_at IS NULL OR owner IS NULL),
    CONSTRAINT deployment_pending_was_never_claimed CHECK (state <> 'pending' OR (owner IS NULL AND claimed_at IS NULL)),
    CONSTRAINT deployment_owner_has_lease CHECK ((owner IS NULL) = (lease_expires_at IS NULL)),
    CONSTRAINT deployment_owner_has_epoch CHECK (owner IS NULL OR (epoch > 0 AND claimed_at IS NOT NULL)),
    CONSTRAINT deployment_paused_has_since CHECK ((paused_since IS NOT NULL) = (state = 'paused')),
    CONSTRAINT deployment_started_has_clock CHECK ((started_at IS NULL) = (clock_started_at IS NULL))
);
COMMENT ON TABLE deployment IS 'One attempt to bring a release to its targets';

-- At most one deployment is active per lane.
CREATE UNIQUE INDEX deployment_one_active_per_lane ON deployment (lane)
    WHERE state IN ('running', 'paused', 'rolling_back');
-- The claim walks from lane to lane over what has not finished.
CREATE INDEX deployment_open ON deployment (lane, arrival) WHERE finished_at IS NULL;
CREATE INDEX deployment_owned ON deployment (owner) WHERE owner IS NOT NULL;
-- History, newest first, for all and for one lane.
CREATE INDEX deployment_history ON deployment (accepted_at DESC, deployment_id DESC);
CREATE INDEX deployment_lane_history ON deployment (application, environment, accepted_at DESC, deployment_id DESC);

CREATE TABLE section (name text PRIMARY KEY);
COMMENT ON TABLE section IS 'Rows that are locked for what one deployment at a time may do (capacity of a backend)';

CREATE TABLE target (
    deployment_id text NOT NULL REFERENCES deployment ON DELETE CASCADE,
    direction text NOT NULL CHECK (direction IN ('forward', 'back')),
    name text NOT NULL,
    address text NOT NULL,
    port integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    login text NOT NULL,
    variables jsonb NOT NULL,
    source text NOT NULL,
    batch integer NOT NULL,
    position integer NOT NULL,
    state text NOT NULL,
    finished boolean NOT NULL,
    touched boolean NOT NULL,
    failure jsonb,
    traffic jsonb,
    duration_seconds double precision,
    connect_seconds double precision,

    PRIMARY KEY (deployment_id, direction, name),
    CONSTRAINT target_state_known CHECK (state IN (
        'pending', 'running', 'unknown', 'succeeded', 'failed', 'unreachable', 'timed_out', 'cancelled', 'skipped',
        'rolled_back')),
    -- 'unknown' is the one state that is either: to be verified, or final when that was impossible to the end.
    CONSTRAINT target_final_is_finished CHECK (
        state = 'unknown' OR finished = (state NOT IN ('pending', 'running')))
);

CREATE TABLE step (
    step_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment_id text NOT NULL,
    direction text NOT NULL,
    target text NOT NULL,
    step text NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),
    status text NOT NULL CHECK (status IN ('succeeded', 'failed', 'timed_out', 'cancelled')),
    exit_status integer,
    duration_seconds double precision NOT NULL,
    output text NOT NULL,
    output_bytes bigint NOT NULL CHECK (output_bytes >= 0),
    output_truncated boolean NOT NULL,
    redone boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    FOREIGN KEY (deployment_id, direction, target) REFERENCES target (deployment_id, direction, name) ON DELETE CASCADE
);
CREATE INDEX step_of_target ON step (deployment_id, direction, target, step_id);

CREATE TABLE event (
    deployment_id text NOT NULL REFERENCES deployment ON DELETE CASCADE,
    sequence bigint NOT NULL CHECK (sequence > 0),
    name text NOT NULL,
    instance text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- json, not jsonb: it is only ever read whole, and jsonb would change the order of its fields.
    body json NOT NULL,

    PRIMARY KEY (deployment_id, sequence)
);
-- Exactly one result.
CREATE UNIQUE INDEX event_one_result ON event (deployment_id) WHERE name = 'deployment.finished';

CREATE TABLE destination (
    destination_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment_id text NOT NULL REFERENCES deployment ON DELETE CASCADE,
    -- null: the topic exchange
    reply_to text,
    correlation_id text,
    cursor bigint NOT NULL DEFAULT 0 CHECK (cursor >= 0),
    done boolean NOT NULL DEFAULT false,
    publisher text,
    publisher_expires_at timestamptz,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failing_since timestamptz,
    reason text,
    parked_at timestamptz,

    CONSTRAINT destination_known_once UNIQUE NULLS NOT DISTINCT (deployment_id, reply_to, correlation_id),
    CONSTRAINT destination_publisher_has_lease CHECK ((publisher IS NULL) = (publisher_expires_at IS NULL)),
    CONSTRAINT destination_parked_is_nobodys CHECK (parked_at IS NULL OR publisher IS NULL)
);
CREATE INDEX destination_open ON destination (next_attempt_at) WHERE NOT done AND parked_at IS NULL;
