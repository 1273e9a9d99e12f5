"""The sections of an evaluation report, each a function of what it tells."""
