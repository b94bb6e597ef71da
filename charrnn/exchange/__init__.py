"""Networks to and from other programs."""

from charrnn.exchange.pytorch import from_torch, to_torch
from charrnn.exchange.runs import export_run, import_run
from charrnn.exchange.safetensors import read_safetensors, write_safetensors

__all__ = ["export_run", "from_torch", "import_run", "read_safetensors", "to_torch", "write_safetensors"]
