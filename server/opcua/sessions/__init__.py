"""Sessions, who their users are and what those may do (OPC 10000-4 §5.7, OPC 10000-18)."""
