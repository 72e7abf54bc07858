"""The plant: model, values, commands. Pure Python, no protocol."""
