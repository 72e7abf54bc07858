"""The measured claims: CPU per operation by the operating system's accounting, never wall-clock races."""
