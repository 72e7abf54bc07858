"""Isthmus: one OPC UA server over every PLC of a plant."""

from typing import Final

__version__: Final = "0.1.0"
