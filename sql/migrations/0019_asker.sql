-- Who asked for a deployment, as it was proved (docs/policy.md), with its groups and the way it came; and whose request an
-- id was first, which outlives the clean-up. NULL: accepted by the release before, which knows RabbitMQ's user alone
-- (deployment.user_id). The release before neither reads nor writes these columns. The wishes (cancel_wish and its
-- like) have a key ``identity`` more, which it passes over.

ALTER TABLE deployment ADD COLUMN asker jsonb;
COMMENT ON COLUMN deployment.asker IS 'Who asked: identity (KIND:NAME or null), groups, way (amqp, http, record), role';

ALTER TABLE known_request ADD COLUMN identity text;
COMMENT ON COLUMN known_request.identity IS 'KIND:NAME of who sent it first; empty: it had no identity';
