"""The laptop platform: everything PMP needs around it, on loopback, from one command."""
