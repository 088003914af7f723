"""The laptop platform: everything that PMP needs to run, on loopback, started by one command."""
