"""The training engine: loss and step, the visible loop, exact checkpoints, observers."""
