"""Embedded servers: PostgreSQL and a Kafka broker from wheels."""
