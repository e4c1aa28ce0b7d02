"""Answers from an exported bundle, by numpy, Pillow and onnxruntime: no torch, no model code."""
