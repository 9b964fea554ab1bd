"""What evaluating a filter costs for one event, estimated before it is evaluated: items of lists, octets of values."""
