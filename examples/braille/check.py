"""Runs every Braille model on the recorded input and counts the spikes that differ from the recording.

    python3 check.py --nc ../../target/release/nc --data RECORDINGS/braille

RECORDINGS/braille holds `in.npz`, `bias_zero.nir`, `noBias_subtract.nir` and one .npz for each recording. Exits with 1 if
one spike differs. Needs numpy and h5py.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import weights

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = {
    "snntorch_zero": "snntorch_bias_zero",
    "snntorch_subtract": "snntorch_noBias_subtract",
    "norse_bias": "norse_bias_zero",
    "norse_nobias": "norse_noBias_subtract",
    "spinnaker2": "s2_noBias_subtract",
    "spyx": "spyx_noBias_subtract",
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nc", default=os.path.join(HERE, "..", "..", "target", "release", "nc"))
    p.add_argument("--data", required=True)
    p.add_argument("--target", default="cpu")
    a = p.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as tmp:
        for name in os.listdir(HERE):
            if name.endswith(".nd"):
                shutil.copy(os.path.join(HERE, name), tmp)
        for nir in ("bias_zero", "noBias_subtract"):
            arrays = weights.read(os.path.join(a.data, nir + ".nir"))
            weights.save_safetensors(os.path.join(tmp, nir + ".safetensors"), arrays)
        x = os.path.join(tmp, "x.npz")
        np.savez(x, x=np.load(os.path.join(a.data, "in.npz"))["input"] != 0)
        for model, recording in MODELS.items():
            out = os.path.join(tmp, "out.npz")
            subprocess.run(
                [a.nc, "run", os.path.join(tmp, model + ".nd"), "--input", x, "--output", out, "--target", a.target],
                check=True,
            )
            got = np.load(out)["spikes"]
            want = np.load(os.path.join(a.data, recording + ".npz"))["spikes"]
            differ = int((got.astype(np.uint8) != want).sum())
            print(f"{model:18} {int(want.sum()):4} spikes recorded, {differ} of {want.size} differ")
            wrong += differ
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
