"""The OPC UA server that clients see."""
