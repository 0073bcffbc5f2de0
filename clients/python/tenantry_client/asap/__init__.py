"""ASAP: signed tokens between services. `Signer` makes them, `Verifier` checks them."""

from tenantry_client.asap.algorithms import UnusableKey
from tenantry_client.asap.https_keys import HttpsKeys
from tenantry_client.asap.public_keys import FixedKeys, KeyFolder, KeySource
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.replays import LocalReplays, Replays, SharedReplays
from tenantry_client.asap.signer import Signer, SigningKey
from tenantry_client.asap.verifier import Caller, Verifier

__all__ = [
    "Caller",
    "FixedKeys",
    "HttpsKeys",
    "KeyFolder",
    "KeySource",
    "LocalReplays",
    "Refused",
    "Replays",
    "SharedReplays",
    "Signer",
    "SigningKey",
    "UnusableKey",
    "Verifier",
]
