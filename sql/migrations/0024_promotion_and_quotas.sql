-- What intake asks of the record for the policy: which deployments brought a version to an environment ([[promote]]), and how
-- many wait of one identity or application ([[limit]] max_waiting). The identity is the proved one; the release before
-- records RabbitMQ's user alone. Indexes only: the release before neither asks nor is hindered.

CREATE INDEX deployment_success ON deployment (application, version, environment, finished_at) WHERE state = 'succeeded';
CREATE INDEX deployment_waiting_identity
    ON deployment (coalesce(asker ->> 'identity', 'amqp:' || user_id, ''), application, environment)
    WHERE state = 'pending';
CREATE INDEX deployment_waiting_application ON deployment (application) WHERE state = 'pending';
