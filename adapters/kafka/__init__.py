"""Kafka: clients behind one port, and the CloudEvents reader."""
