"""How a device is read and written. Knows nothing of plants, OPC UA nodes or MQTT."""
