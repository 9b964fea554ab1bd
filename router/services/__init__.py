"""Services: programs of other teams, each with a queue and a broker user of its own, made by us."""
