"""Training and evaluating networks, one resumable trainer for all, and tasks that run beside one another."""
