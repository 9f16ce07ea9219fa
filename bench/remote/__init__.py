"""Stores behind addresses, such as s3://bucket/faces: what lies there is copied here, and files are copied there.

Reached by fsspec, which `bench[remote]` brings with packages for S3 and Google Cloud Storage. Credentials come from
the environment alone.
"""

from bench.remote.copy import LOCK, Copy, address_of, readers_of, reading
from bench.remote.store import Item, Store
from bench.remote.transfer import each

__all__ = ["LOCK", "Copy", "Item", "Store", "address_of", "each", "readers_of", "reading"]
