"""Composites whose traces are hidden: Context-aware matting's augmentation (Hou and Liu, 2019).

A rival of Matte Label Blending in the paper's Table 2, which takes from it that re-encoding as JPEG
and blur make composites and photographs alike. Labels are learnt as they are, after pre-training on
masks and in as many steps as the teacher: what differs from the teacher is the images.

Its authors published no code of training, and neither they nor the paper say how strong the
augmentation is. How often, and the range of JPEG's quality, is here as in Huh et al. (2018), whose
idea it follows; the quality is any integer of the range, theirs every fifth, and the blur's
deviation 0 to 3 pixels, as later matting code has it, theirs 1 to 5. The people and the background
are encoded each by itself before they meet, so that neither is known by what a codec left of it;
then their composite is blurred, and encoded as a whole. All of this comes before the blur, grain
and JPEG that composites have in any run. The authors' own network, of two encoders, needs a trimap
and is not part of this: any of `train.networks` learns.
"""

from __future__ import annotations

from train.methods.method import Method
from train.methods.supervised import targets

METHOD = Method(targets, hides_traces=True)
