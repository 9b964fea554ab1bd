"""The client of a service: it reads the service's queue, and acknowledges each event when its block is over."""
