"""client.py MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.

Needs onnxruntime and NumPy; neither Glueball nor torch.
"""

import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
shape = [size if isinstance(size, int) else -1 for size in session.get_inputs()[0].shape]
images = np.fromfile(sys.argv[2], "<f4").reshape(shape)
for row in session.run(None, {"data": images})[0]:
    print("  ".join(f"{best} {row[best]:.6f}" for best in np.argsort(-row, kind="stable")[:5]))
