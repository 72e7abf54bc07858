"""Devices that are not there: real servers on real sockets, with faults to order."""
