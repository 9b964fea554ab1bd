"""AMQP over pika: connections, publishing, consuming, declarations, questions about queues."""
