"""ASAP: signed tokens between services. `Signer` makes them, `Verifier` checks them."""

from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.signer import Signer, SigningKey
from tenantry_client.asap.verifier import Caller, Verifier

__all__ = ["Caller", "Refused", "Signer", "SigningKey", "Verifier"]
