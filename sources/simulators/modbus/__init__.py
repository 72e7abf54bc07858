"""A Modbus TCP device that is not there."""
