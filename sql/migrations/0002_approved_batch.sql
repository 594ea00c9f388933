-- Which gate of rollout.approve_after was opened last, so that whoever takes over does not ask for it again.
ALTER TABLE deployment ADD COLUMN approved_batch integer NOT NULL DEFAULT 0 CHECK (approved_batch >= 0);
