"""Room 0: videos in, frames out. Decoding, faces/ (one file a face finder), crops/ (one file a preset), extraction.

What the parts offer each other:

- `faces.load(spec, min_face_px, min_score)` gives a `Finder`; `spec` is "yunet", "none", or the path of an ONNX file.
  `faces.digest(spec)` is what `Finder.digest` will be, without loading anything. Both raise `UserError`.
- `crops.PRESETS` are the names of the presets, and `crops.crop(preset, picture, faces)` gives a list of `Crop`, empty
  where there is no face. The preset "none" gives the whole frame; extraction uses it where the finder is "none".

The module's top imports nothing heavy: PyAV, OpenCV and onnxruntime are imported where footage is read.
"""
