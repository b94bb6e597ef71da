"""Networks to and from other programs."""

from charrnn.exchange.json import write_json
from charrnn.exchange.onnx import write_onnx
from charrnn.exchange.pytorch import from_torch, to_torch, write_torch
from charrnn.exchange.quantize import quantized
from charrnn.exchange.runs import export_run, import_run
from charrnn.exchange.safetensors import read_safetensors, write_safetensors

__all__ = [
    "export_run",
    "from_torch",
    "import_run",
    "quantized",
    "read_safetensors",
    "to_torch",
    "write_json",
    "write_onnx",
    "write_safetensors",
    "write_torch",
]
