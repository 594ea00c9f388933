-- What statistics need of each deployment that ended, and indexes for reading a large record. docs/statistics.md says
-- what is counted; docs/database.md which index is for what.

CREATE TABLE outcome (
    deployment_id text PRIMARY KEY,
    finished_at timestamptz NOT NULL,
    application text NOT NULL,
    environment text NOT NULL,
    team text,
    recipe text NOT NULL,
    selectors text[] NOT NULL,
    dry_run boolean NOT NULL,
    status text NOT NULL CHECK (status IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'rolled_back')),
    failure_code text,
    queued_seconds double precision NOT NULL,
    duration_seconds double precision NOT NULL,
    targets_total integer NOT NULL,
    targets_failed integer NOT NULL
);
COMMENT ON TABLE outcome IS 'A line for statistics per deployment that ended; outlives the clean-up of its deployment';
CREATE INDEX outcome_by_time ON outcome (finished_at);
CREATE INDEX outcome_of_lane ON outcome (application, environment, finished_at);

-- What ended before this migration.
INSERT INTO outcome
SELECT deployment_id, finished_at, application, environment, team, recipe,
       ARRAY(SELECT 'tag:' || (found #>> '{}') FROM jsonb_path_query(request, '$.targets.chef.tags[*]') AS found
             UNION ALL
             SELECT 'role:' || (found #>> '{}') FROM jsonb_path_query(request, '$.targets.chef.roles[*]') AS found
             UNION ALL
             SELECT 'recipe:' || (found #>> '{}') FROM jsonb_path_query(request, '$.targets.chef.recipes[*]') AS found
             UNION ALL
             SELECT 'group:' || (found #>> '{}') FROM jsonb_path_query(request, '$.targets.inventory.groups[*]') AS found),
       coalesce(request -> 'dry_run' = 'true', false),
       state,
       CASE WHEN failure ->> 'code' = 'rollout.too_many_failures' THEN coalesce((
           SELECT target.failure ->> 'code' FROM target
           WHERE target.deployment_id = deployment.deployment_id AND target.failure IS NOT NULL
           ORDER BY direction DESC, batch, position LIMIT 1), failure ->> 'code')
       ELSE failure ->> 'code' END,
       EXTRACT(epoch FROM coalesce(claimed_at, finished_at) - accepted_at)::double precision,
       coalesce(EXTRACT(epoch FROM finished_at - claimed_at), 0)::double precision,
       coalesce((metrics ->> 'targets_total')::integer, 0),
       coalesce((metrics ->> 'targets_failed')::integer, 0) + coalesce((metrics ->> 'targets_unreachable')::integer, 0)
           + coalesce((metrics ->> 'targets_timed_out')::integer, 0) + coalesce((metrics ->> 'targets_unknown')::integer, 0)
FROM deployment WHERE finished_at IS NOT NULL;

-- The last ones that ended, and what the clean-up looks for.
CREATE INDEX deployment_finished ON deployment (finished_at DESC, deployment_id DESC) WHERE finished_at IS NOT NULL;
-- History of one final state: written once, when the deployment ends. What is open has deployment_open.
CREATE INDEX deployment_ended_history ON deployment (state, accepted_at DESC, deployment_id DESC)
    WHERE state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'rolled_back');
