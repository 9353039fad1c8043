"""Bitstreams: manifests, the hardware handoff, virtual ones, and the choice of the one that the driver can use.

bitstream = find("default")          # JoulebitError where none fits, saying what to build
board.load(bitstream)
"""

from joulebit_host.bitstreams.manifest import Manifest, read_manifest, write_manifest
from joulebit_host.bitstreams.store import directories, find, manifests

__all__ = ["Manifest", "directories", "find", "manifests", "read_manifest", "write_manifest"]
