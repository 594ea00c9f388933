-- The text of the recipe that a deployment began with: whoever takes it over goes on with the same steps, whatever the
-- folders of recipes hold by then.
CREATE TABLE recipe (
    digest bytea PRIMARY KEY,
    source text NOT NULL,
    first_used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE recipe IS 'Every version of a recipe that a deployment began with, by its SHA-256';
ALTER TABLE deployment ADD COLUMN recipe_digest bytea REFERENCES recipe;
