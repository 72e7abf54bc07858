"""EtherNet/IP to Logix controllers: ControlLogix, CompactLogix, GuardLogix, Micro800."""
