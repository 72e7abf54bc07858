"""Tools for whoever sets a plant up: devices looked at directly, tag lists made configuration, plans."""
