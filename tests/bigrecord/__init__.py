"""A record as large as a year of 300 deployments a day leaves it, and how fast it is read."""
