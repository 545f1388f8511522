"""A run's folder: its lock and configuration, its state and checkpoints, and how it is read again."""
