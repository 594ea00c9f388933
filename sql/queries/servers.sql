-- Servers of a lane in HAProxy, beyond one deployment: left drained by an earlier one, or ordered by people.

-- name: earlier_drain
-- The deployment that left this server drained, with what it takes to see whether it still is.
SELECT left_out.deployment_id, left_out.target, coalesce(left_out.backend, deployment.request #>> '{haproxy,backend}')
           AS backend, deployment.balancers, target.traffic
FROM (SELECT lane, target, deployment_id, NULL AS backend FROM left_drained
      UNION ALL SELECT lane, target, deployment_id, '' FROM left_drained_several) AS left_out
JOIN deployment USING (deployment_id)
JOIN target ON target.deployment_id = left_out.deployment_id AND target.name = left_out.target
    AND target.direction = 'forward'
WHERE left_out.lane = :lane AND left_out.target = :target AND target.traffic IS NOT NULL;

-- name: last_with_server
-- The newest deployment of the lane that had this target and load balancers: it knows where the server stands.
SELECT deployment_id FROM deployment JOIN target USING (deployment_id)
WHERE deployment.lane = :lane AND target.name = :target AND target.direction = 'forward'
  AND jsonb_typeof(request -> 'haproxy') = 'object' AND started_at IS NOT NULL
  AND coalesce(request -> 'dry_run' <> 'true', true)
ORDER BY arrival DESC LIMIT 1;

-- name: worked_on_by
-- The deployment of the lane that has this target in work now.
SELECT deployment_id FROM deployment JOIN target USING (deployment_id)
WHERE deployment.lane = :lane AND deployment.finished_at IS NULL AND target.name = :target
  AND target.state IN ('running', 'unknown') AND NOT target.finished
LIMIT 1;

-- name: last_order
-- What people ordered last for this server.
SELECT command, deployment_id, traffic, backend, requested_by, reason, ordered_at
FROM server_order WHERE lane = :lane AND target = :target ORDER BY order_id DESC LIMIT 1;

-- name: keep_order!
-- What a person ordered for a server; the last one is what is wanted.
INSERT INTO server_order (lane, target, command, deployment_id, traffic, backend, requested_by, reason)
VALUES (:lane, :target, :command, :deployment_id, :traffic, :backend, :requested_by, :reason);

-- name: forget_left_drained!
-- A person decides over the server from now on.
WITH of_several AS (DELETE FROM left_drained_several WHERE lane = :lane AND target = :target)
DELETE FROM left_drained WHERE lane = :lane AND target = :target;
