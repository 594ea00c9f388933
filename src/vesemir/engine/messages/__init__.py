"""What comes in and goes out: judged, stored, answered, published."""
