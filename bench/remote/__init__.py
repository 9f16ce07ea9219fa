"""Stores behind addresses, such as s3://bucket/faces: what lies there is copied here, and files are copied there.

Reached by fsspec, which `bench[remote]` brings with packages for S3 and Google Cloud Storage. Credentials come from
the environment alone.
"""

from bench.remote.copy import Copy
from bench.remote.store import Item, Store
from bench.remote.transfer import each

__all__ = ["Copy", "Item", "Store", "each"]
