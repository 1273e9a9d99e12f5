"""Where the time of a training goes, measured stage by stage, and what to set about it."""
