"""The service sets of a session (OPC 10000-4 §5), but for subscriptions."""
