"""The RabbitMQ client over pika: connections, confirms, consuming, topology."""
