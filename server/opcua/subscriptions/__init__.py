"""MonitoredItems and subscriptions (OPC 10000-4 §5.13, §5.14)."""
