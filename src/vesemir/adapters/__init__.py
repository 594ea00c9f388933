"""One per thing outside: they implement the engine's ports and do not know each other."""
