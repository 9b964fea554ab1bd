"""Takes the records of all nodes, each its fair share: queues in turn, floods set aside."""
