"""EtherNet/IP to ControlLogix, CompactLogix, GuardLogix and Micro800; `slc` to older controllers."""
