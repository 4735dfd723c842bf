"""The sentinel as a process of its own: ``python -m arp_engine.sentinel '{"dev": "eth0"}'``."""

from .process import main

main()
