"""What driver and workers say, kept in the run's prefix: shipped while they run, read when they are gone."""
