"""The originals that there are, by the system they are of."""

from typing import Any

import ml_collections

from benchmarks import peer_munit, peer_stargan, peer_stargan_v2, peer_unit

_PEERS = {
  'munit': peer_munit.Peer,
  'stargan': peer_stargan.Peer,
  'stargan_v2': peer_stargan_v2.Peer,
  'unit': peer_unit.Peer,
}


def create(
  directory: str, config: ml_collections.ConfigDict, backend: str
) -> Any:
  """The original of the config's system, run from a checkout.

  Args:
    directory: of the checkout.
    config: of the networks.
    backend: JAX's, whose kind of device it takes.

  Raises:
    UserError: something is missing.
  """
  return _PEERS[config.system](directory, config, backend)
