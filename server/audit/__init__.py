"""The audit log: what was done, in files that only grow, each record chained to the one before."""
