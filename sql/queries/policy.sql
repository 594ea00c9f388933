-- What the policy asks of the record.

-- name: successes
-- What brought a version to environments, dry runs not counted: of each artifact the first. By an index of its own.
SELECT DISTINCT ON (environment, artifact)
    environment, deployment_id, request #>> '{parameters,artifact_sha256}' AS artifact,
    EXTRACT(epoch FROM clock_timestamp() - finished_at)::double precision AS seconds_ago
FROM deployment
WHERE state = 'succeeded' AND application = :application AND version = :version
  AND environment = ANY(:environments::text[]) AND coalesce(request -> 'dry_run' <> 'true', true)
ORDER BY environment, artifact, finished_at;

-- name: hold_waiting!
-- One intake at a time counts what waits of each of these: the next one sees what this one accepted.
INSERT INTO section (name) SELECT held.name FROM unnest(:names::text[]) AS held (name) ORDER BY held.name
ON CONFLICT (name) DO UPDATE SET name = excluded.name;

-- name: waiting_of
-- How many deployments wait that these identities (empty: none) asked for, or that are of these applications. By an index
-- of each.
SELECT identity, application, environment, count(*) AS count FROM (
    SELECT coalesce(asker ->> 'identity', 'amqp:' || user_id, '') AS identity, application, environment
    FROM deployment
    WHERE state = 'pending' AND coalesce(asker ->> 'identity', 'amqp:' || user_id, '') = ANY(:identities::text[])
    UNION ALL
    SELECT coalesce(asker ->> 'identity', 'amqp:' || user_id, '') AS identity, application, environment
    FROM deployment
    WHERE state = 'pending' AND application = ANY(:applications::text[])
      AND coalesce(asker ->> 'identity', 'amqp:' || user_id, '') <> ALL(:identities::text[])
) AS waiting
GROUP BY identity, application, environment;
