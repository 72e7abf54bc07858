"""From a client's write to the device: authorise, check, queue, record, send once, read back, record."""

from server.plant.commands.attempt import Attempt, Caller, Outcome, Result, elements
from server.plant.commands.govern import Commands, Device
from server.plant.commands.rules import MAX_TEXT, fits_type
from server.plant.commands.trail import Recorder

__all__ = [
    "MAX_TEXT",
    "Attempt",
    "Caller",
    "Commands",
    "Device",
    "Outcome",
    "Recorder",
    "Result",
    "elements",
    "fits_type",
]
