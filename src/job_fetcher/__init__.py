"""The DECODE OpenCloud worker: pulls jobs, runs their containers on this machine, uploads what they made."""
