"""What a process counts about itself, and how a run shows it to the world."""
