-- The defaults of a request that changed with a release, as they were when the deployment was accepted: the number, or
-- 'auto'. NULL: accepted by an instance of release 0.1, whose defaults hold. The release before neither reads nor writes it.

ALTER TABLE deployment ADD COLUMN defaults jsonb;
COMMENT ON COLUMN deployment.defaults IS 'What rollout means where the request is silent; NULL: the defaults of release 0.1';
