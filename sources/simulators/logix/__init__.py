"""A Logix controller that is not there: EtherNet/IP and CIP on a real socket, with faults to order."""
