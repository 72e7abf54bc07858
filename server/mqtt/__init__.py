"""The plant on MQTT, as OPC UA PubSub JSON (OPC 10000-14)."""
