"""Parameter groups, optimizers, learning-rate schedules and weight averaging."""
