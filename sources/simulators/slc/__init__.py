"""A simulated SLC 500: data files behind PCCC, on the sockets of the simulated Logix controller."""
