-- What filling.py runs; {deployments} is their number, the last one an hour ago, {a_day}
-- a day before that.

CREATE FUNCTION pg_temp.failure(code text, message text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'code', code, 'message', message, 'runbook', 'docs/runbook.md#' || translate(code, '._', '--'))
$$;

CREATE TEMPORARY TABLE made AS
SELECT n, 'dep-' || lpad(n::text, 8, '0') AS id,
       'app' || lpad((floor(40 * power(random(), 2.5)))::text, 2, '0') AS application,
       (ARRAY['production', 'production', 'staging', 'testing'])[1 + floor(random() * 4)] AS environment,
       clock_timestamp() - (({deployments} - n)::double precision * 86400 / {a_day}) * interval '1 second'
           - interval '1 hour' AS accepted_at,
       random() AS luck, random() AS what, 20 * random() ^ 3 AS waited, 30 + 600 * random() ^ 4 AS took,
       1 + floor(random() * 5)::integer AS targets, random() < 0.03 AS dry_run,
       floor(random() * 3)::integer AS selected
FROM generate_series(1, {deployments}) AS n;

CREATE TEMPORARY TABLE ended AS
SELECT made.*, row_number() OVER (PARTITION BY application, environment ORDER BY n) AS arrival,
       CASE WHEN luck < bad THEN 'failed' WHEN luck < bad * 1.15 THEN 'timed_out' WHEN luck < bad * 1.3 THEN 'rolled_back'
            WHEN luck < bad * 1.3 + 0.02 THEN 'cancelled' ELSE 'succeeded' END AS state,
       CASE WHEN what < 0.4 THEN 'step.failed' WHEN what < 0.6 THEN 'health.failed' WHEN what < 0.75 THEN 'ssh.unreachable'
            WHEN what < 0.85 THEN 'haproxy.not_up' WHEN what < 0.95 THEN 'step.timed_out' ELSE 'haproxy.drain_timed_out'
            END AS code
FROM (SELECT made.*, 0.08 - 0.06 * n / {deployments} AS bad FROM made) AS made;

INSERT INTO lane SELECT application || '/' || environment, max(arrival) FROM ended GROUP BY 1;

INSERT INTO known_request SELECT id, sha256(id::bytea), accepted_at FROM ended;

INSERT INTO deployment (
    deployment_id, request, application, environment, version, recipe, team, requested_by, arrival, state, failure,
    metrics, next_sequence, last_owner, epoch, accepted_at, claimed_at, started_at, clock_started_at, finished_at,
    resolve_seconds)
SELECT id,
       jsonb_build_object(
           'schema', 'vesemir.deploy/1', 'deployment_id', id, 'application', application,
           'environment', environment, 'version', '1.' || n, 'recipe', 'release', 'dry_run', dry_run,
           'targets', CASE selected
               WHEN 0 THEN jsonb_build_object('chef', jsonb_build_object(
                   'tags', jsonb_build_array(application || '-web', 'zone-' || n % 3)))
               WHEN 1 THEN jsonb_build_object('inventory', jsonb_build_object('groups', jsonb_build_array(application)))
               ELSE '{"hosts": ["web1"]}' END,
           'parameters', jsonb_build_object('artifact_url', 'https://artifacts.example.com/' || application || '/' || n),
           'rollout', '{"concurrency": 2, "canary": 1}'::jsonb),
       application, environment, '1.' || n, 'release', 'team' || right(application, 1), 'orchestrator', arrival, state,
       CASE state WHEN 'succeeded' THEN NULL
            WHEN 'cancelled' THEN pg_temp.failure('deployment.cancelled', 'cancelled by ann')
            WHEN 'timed_out' THEN pg_temp.failure('deployment.timed_out', 'not done in time')
            ELSE pg_temp.failure('rollout.too_many_failures', '1 of 3 targets failed') END,
       jsonb_build_object('targets_total', targets, 'targets_failed', (state IN ('failed', 'rolled_back'))::integer,
           'targets_timed_out', (state = 'timed_out')::integer, 'duration_seconds', took),
       9 + targets * 7, 'deployer1/ab12', n, accepted_at, accepted_at + waited * interval '1 second',
       accepted_at + waited * interval '1 second', accepted_at + waited * interval '1 second',
       accepted_at + (waited + took) * interval '1 second', 0.2
FROM ended;

INSERT INTO target
SELECT id, 'forward', 'web' || t, '10.0.' || n % 250 || '.' || t, 22, 'deploy', '{"zone": "a"}', 'inventory', t, t,
       CASE WHEN state = 'succeeded' THEN 'succeeded' WHEN t > 1 THEN 'skipped'
            WHEN state = 'timed_out' THEN 'timed_out' WHEN state = 'cancelled' THEN 'cancelled' ELSE 'failed' END,
       true, true,
       CASE WHEN t = 1 AND state IN ('failed', 'rolled_back') THEN pg_temp.failure(code, 'it failed') END,
       '{"haproxy1": {"state": "ready", "weight": 100}}', took / targets, 0.03
FROM ended, generate_series(1, targets) AS t;

INSERT INTO step (
    deployment_id, direction, target, step, attempt, status, exit_status, duration_seconds, output, output_bytes,
    output_truncated, redone, recorded_at)
SELECT id, 'forward', 'web' || t, (ARRAY['drain', 'fetch', 'unpack', 'switch', 'health'])[s], 1,
       CASE WHEN t = 1 AND s = 5 AND state IN ('failed', 'rolled_back') THEN 'failed' ELSE 'succeeded' END, 0, took / targets / 5,
       repeat('a line of output of ' || application || E'\n', 4), 120, false, false,
       accepted_at + (waited + took * s / 5) * interval '1 second'
FROM ended, generate_series(1, targets) AS t, generate_series(1, 5) AS s;

INSERT INTO event
SELECT id, e, CASE WHEN e = 1 THEN 'deployment.accepted' WHEN e = 2 THEN 'deployment.started'
           WHEN e = 8 + targets * 7 THEN 'deployment.finished' ELSE 'step.finished' END,
       'deployer1/ab12', accepted_at + took * e / 8 * interval '1 second',
       json_build_object('target', 'web1', 'step', 'unpack', 'status', 'succeeded', 'exit_status', 0,
           'duration_seconds', 1.5, 'output', repeat('a line of output ', 5), 'output_truncated', false)
FROM ended, generate_series(1, 8 + targets * 7) AS e;

INSERT INTO destination (deployment_id, reply_to, correlation_id, cursor, done)
SELECT id, reply_to, CASE WHEN reply_to IS NOT NULL THEN id END, 8 + targets * 7, true
FROM ended, (VALUES (NULL), ('orchestrator.answers')) AS destinations (reply_to);

SELECT setval('vesemir_epoch', max(n)) FROM ended;

INSERT INTO known_request SELECT 'open-' || n, sha256('x') FROM generate_series(1, 20) AS n;
INSERT INTO lane SELECT 'busy' || n % 5 || '/production', 4 FROM generate_series(1, 5) AS n;
INSERT INTO deployment (
    deployment_id, request, application, environment, version, recipe, team, requested_by, arrival, state, owner,
    last_owner, epoch, lease_expires_at, accepted_at, claimed_at, started_at, clock_started_at)
SELECT 'open-' || n, jsonb_build_object('deployment_id', 'open-' || n, 'targets', '{"hosts": ["web1"]}'::jsonb),
       'busy' || n % 5, 'production', '2.' || n, 'release', 'team1', 'orchestrator', 1 + (n - 1) / 5,
       CASE WHEN n <= 5 THEN 'running' ELSE 'pending' END, CASE WHEN n <= 5 THEN 'deployer1/ab12' END,
       CASE WHEN n <= 5 THEN 'deployer1/ab12' END, CASE WHEN n <= 5 THEN nextval('vesemir_epoch') ELSE 0 END,
       CASE WHEN n <= 5 THEN now() + interval '1 day' END, now() - interval '1 minute' + n * interval '1 second',
       CASE WHEN n <= 5 THEN now() END,
       CASE WHEN n <= 5 THEN now() END, CASE WHEN n <= 5 THEN now() END
FROM generate_series(1, 20) AS n;
