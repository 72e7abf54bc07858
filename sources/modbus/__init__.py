"""Modbus: config, codec, decode, plan, driver."""
