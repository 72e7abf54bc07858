"""What a developer runs to write the files this package carries."""
