-- History of one team, newest first.
CREATE INDEX deployment_team_history ON deployment (team, accepted_at DESC, deployment_id DESC) WHERE team IS NOT NULL;
