-- Secret parameters, sealed with a key that is not in the database (setting secrets.key_file); null without any, and
-- as soon as the deployment has ended. `request` shows them as three dots.
ALTER TABLE deployment ADD COLUMN sealed bytea;
