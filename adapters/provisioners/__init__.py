"""Provisioners of other teams: webhooks, Kafka commands, replies."""
