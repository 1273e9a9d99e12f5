"""The data gate: everything that can be known about a source before training on it. Reads only."""
