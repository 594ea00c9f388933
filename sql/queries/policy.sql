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
