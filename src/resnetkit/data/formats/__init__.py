"""One module per kind of source: each reads a location into a `Source` of labelled splits."""
