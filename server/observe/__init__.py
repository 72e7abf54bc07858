"""What a running server tells of itself: a snapshot, Prometheus metrics, the control socket."""
