"""Limits service: chunks of rates and of grants to export, for the services of the cloud."""
