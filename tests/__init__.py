"""PMP's tests and their support; the programs that run and check are in ``checks/``."""
