"""Using a finished model: bytes in, predictions out; no training code is imported here."""
