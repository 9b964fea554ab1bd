"""Actions that a person runs by hand, with the guards of a subscription, without a broker."""
