"""Nodes of downstream OPC UA servers, shown as part of this one."""
