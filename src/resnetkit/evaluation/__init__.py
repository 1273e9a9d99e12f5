"""Judging a network: logits and labels to metrics with intervals, and the report on them."""
