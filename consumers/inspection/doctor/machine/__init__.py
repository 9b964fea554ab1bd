"""What belongs to one machine: what it is for the site, its services, its spool and relay."""
