-- Statistics: one line per deployment that ended, and what is counted over them. docs/statistics.md says what a defect
-- is. A day is a UTC day. All of them take the same filters: application, environment, team, recipe, selector.

-- name: keep_outcome!
-- After a deployment's last write, in its transaction. A code that only says that targets failed gives way to the code
-- of the first target that did.
INSERT INTO outcome (
    deployment_id, finished_at, application, environment, team, recipe, selectors, dry_run, status, failure_code,
    queued_seconds, duration_seconds, targets_total, targets_failed, targets_serving, targets_unserved)
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
           + coalesce((metrics ->> 'targets_timed_out')::integer, 0) + coalesce((metrics ->> 'targets_unknown')::integer, 0),
       serving, unserved
FROM deployment CROSS JOIN LATERAL (
    -- One that went back too has the earlier release, or nobody knows which.
    SELECT count(*) FILTER (WHERE in_traffic) AS serving, count(*) FILTER (WHERE NOT in_traffic) AS unserved
    FROM target
    WHERE target.deployment_id = deployment.deployment_id AND direction = 'forward' AND target.state = 'succeeded'
      AND NOT EXISTS (
          SELECT FROM target AS back
          WHERE back.deployment_id = target.deployment_id AND back.direction = 'back' AND back.name = target.name
            AND back.state NOT IN ('pending', 'skipped'))
) AS counted
WHERE deployment_id = :deployment_id AND finished_at IS NOT NULL
ON CONFLICT (deployment_id) DO NOTHING;

-- name: statistics_period
-- From the beginning of a day to now, or to the end of a day, and where the equally long time before it begins. All
-- days: from the first outcome on; there is nothing before.
WITH clock AS (
    SELECT clock_timestamp() AS now, date_trunc('day', clock_timestamp(), 'UTC') AS today
), asked AS (
    SELECT least(coalesce(:last_day::text::date::timestamp AT TIME ZONE 'UTC' + interval '1 day', now), now) AS until,
           CASE WHEN :all_days::boolean
                THEN coalesce(date_trunc('day', (SELECT min(finished_at) FROM outcome), 'UTC'), today)
                ELSE coalesce(
                    :first_day::text::date::timestamp AT TIME ZONE 'UTC',
                    coalesce(:last_day::text::date::timestamp AT TIME ZONE 'UTC', today)
                        - make_interval(days => :days::integer - 1))
           END AS since
    FROM clock
)
SELECT since, greatest(since, until) AS until,
       CASE WHEN :all_days THEN since ELSE since - (greatest(since, until) - since) END AS before
FROM asked;

-- name: statistics_totals
-- Of one time. Without a GROUP BY for two of them: that would sort the rows once more.
SELECT count(*) FILTER (WHERE dry_run) AS dry_runs,
       count(*) FILTER (WHERE NOT dry_run AND status = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE NOT dry_run AND status = 'failed') AS failed,
       count(*) FILTER (WHERE NOT dry_run AND status = 'timed_out') AS timed_out,
       count(*) FILTER (WHERE NOT dry_run AND status = 'rolled_back') AS rolled_back,
       count(*) FILTER (WHERE NOT dry_run AND status = 'cancelled') AS cancelled,
       coalesce(sum(targets_total) FILTER (WHERE NOT dry_run), 0)::bigint AS targets,
       coalesce(sum(targets_failed) FILTER (WHERE NOT dry_run), 0)::bigint AS targets_failed,
       coalesce(sum(targets_serving) FILTER (WHERE NOT dry_run), 0)::bigint AS targets_serving,
       coalesce(sum(targets_unserved) FILTER (WHERE NOT dry_run), 0)::bigint AS targets_unserved,
       percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_seconds)
           FILTER (WHERE NOT dry_run AND status = 'succeeded') AS durations,
       percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY queued_seconds) FILTER (WHERE NOT dry_run) AS waits
FROM outcome
WHERE finished_at >= :since AND finished_at < :until
  AND (:application::text IS NULL OR application = :application)
  AND (:environment::text IS NULL OR environment = :environment)
  AND (:team::text IS NULL OR team = :team)
  AND (:recipe::text IS NULL OR recipe = :recipe)
  AND (:selector::text IS NULL OR :selector = ANY (selectors));

-- name: statistics_days
-- Every day of the period, those without a deployment too. A look into the index for each day: nothing is sorted.
SELECT day::date::text AS day, rated, defects
FROM generate_series(
    (:since::timestamptz AT TIME ZONE 'UTC')::date::timestamp,
    (:until::timestamptz - interval '1 microsecond') AT TIME ZONE 'UTC', interval '1 day') AS day
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status <> 'cancelled') AS rated,
           count(*) FILTER (WHERE status IN ('failed', 'timed_out', 'rolled_back')) AS defects
    FROM outcome
    WHERE finished_at >= day AT TIME ZONE 'UTC' AND finished_at < (day + interval '1 day') AT TIME ZONE 'UTC'
      AND finished_at >= :since AND finished_at < :until AND NOT dry_run
      AND (:application::text IS NULL OR application = :application)
      AND (:environment::text IS NULL OR environment = :environment)
      AND (:team::text IS NULL OR team = :team)
      AND (:recipe::text IS NULL OR recipe = :recipe)
      AND (:selector::text IS NULL OR :selector = ANY (selectors))
) AS counted
ORDER BY day;

-- name: statistics_groups
-- Counts for each value of what they are grouped by, of both times. A deployment with several selectors counts under
-- each; one without a team or a selector under none of them (an empty name). Under a failure code count those only
-- that ended with it. How long they waited is a matter of the whole, and sorting for it costs.
SELECT name,
       finished_at >= :since AS is_now,
       0::bigint AS dry_runs,
       count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'timed_out') AS timed_out,
       count(*) FILTER (WHERE status = 'rolled_back') AS rolled_back,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       coalesce(sum(targets_total), 0)::bigint AS targets,
       coalesce(sum(targets_failed), 0)::bigint AS targets_failed,
       coalesce(sum(targets_serving), 0)::bigint AS targets_serving,
       coalesce(sum(targets_unserved), 0)::bigint AS targets_unserved,
       percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_seconds)
           FILTER (WHERE status = 'succeeded') AS durations,
       NULL::double precision[] AS waits
FROM (
    SELECT unnest(CASE :by::text
               WHEN 'application' THEN ARRAY[application]
               WHEN 'environment' THEN ARRAY[environment]
               WHEN 'team' THEN ARRAY[coalesce(team, '')]
               WHEN 'recipe' THEN ARRAY[recipe]
               WHEN 'status' THEN ARRAY[status]
               WHEN 'failure' THEN CASE WHEN failure_code IS NULL THEN '{}' ELSE ARRAY[failure_code] END
               WHEN 'selector' THEN CASE WHEN selectors = '{}' THEN ARRAY[''] ELSE selectors END
               -- Casts of dates: to_char takes several times as long, for each row.
               WHEN 'day' THEN ARRAY[(finished_at AT TIME ZONE 'UTC')::date::text]
               WHEN 'week' THEN ARRAY[date_trunc('week', finished_at AT TIME ZONE 'UTC')::date::text]
               WHEN 'month' THEN ARRAY[left((finished_at AT TIME ZONE 'UTC')::date::text, 7)]
           END) AS name,
           finished_at, status, targets_total, targets_failed, targets_serving, targets_unserved, duration_seconds
    FROM outcome
    WHERE finished_at >= :before AND finished_at < :until AND NOT dry_run
      AND (:application::text IS NULL OR application = :application)
      AND (:environment::text IS NULL OR environment = :environment)
      AND (:team::text IS NULL OR team = :team)
      AND (:recipe::text IS NULL OR recipe = :recipe)
      AND (:selector::text IS NULL OR :selector = ANY (selectors))
) AS grouped
GROUP BY name, is_now
ORDER BY name;
