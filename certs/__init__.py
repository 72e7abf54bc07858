"""Keys, certificates, trust lists. Code only: generated material lives in the data directory."""
