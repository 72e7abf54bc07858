"""What can go wrong with MQTT; every text is meant for people.

MqttError
├── MqttStateError         the file of writer ids cannot be used
├── EmbeddedBrokerError    the broker beside the server cannot start
└── BrokerError            no connection to the broker
    ├── BrokerUnreachable    nobody answered, or the line broke: dial again soon
    └── BrokerRefused        the broker or our own settings say no: dial again slowly, a person must act
"""

from __future__ import annotations


class MqttError(Exception):
    """Base of all errors of this room."""


class MqttStateError(MqttError):
    """The file of writer ids cannot be used; the text says what, where and what to do."""


class EmbeddedBrokerError(MqttError):
    """The embedded broker cannot start; the text says why and what to do."""


class BrokerError(MqttError):
    """There is no connection to the broker, or no longer."""


class BrokerUnreachable(BrokerError):
    """The broker is not there: dialling again may help."""


class BrokerRefused(BrokerError):
    """The broker, or what we were given to connect with, says no for a reason that stays."""
