-- The whole text of a recipe where `source`, which the release before reads, leaves something out that it does not know.
-- `digest` is that of the whole text.
ALTER TABLE recipe ADD COLUMN full_source text;
COMMENT ON COLUMN recipe.full_source IS 'The whole text; null where source is the whole of it';
