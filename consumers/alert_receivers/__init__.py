"""Other systems that alerts are kept in, beside deliveries: what is open is sent again, and acts of people are read."""
