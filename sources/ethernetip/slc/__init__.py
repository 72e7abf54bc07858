"""SLC 500 and MicroLogix controllers: PCCC in EtherNet/IP, through pycomm3's SLCDriver."""
