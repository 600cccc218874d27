"""BSHM's three networks in turn (Liu et al., 2020), a rival of Matte Label Blending.

The first one, MPN, learns as `train.methods.supervised` has it, from coarse masks and composites in
equal parts, as the paper has about as many of either. `UNIFY` is how QUN learns and `REFINE` how
MRN does, from composites alone. Labels are learnt as they are, by the losses of
`train.networks.bshm`.

How many steps each takes the paper does not say. Here MPN has those of a recipe's pre-training, QUN
those of the teacher and MRN those of the student, so that all three together take as long as what
they are compared with. MRN begins with an encoder from ImageNet and never sees a mask's label.
"""

from __future__ import annotations

from train.methods.method import Method
from train.methods.supervised import targets

UNIFY = Method(targets, spoils_masks=True)
REFINE = Method(targets, needs_contrast=True)
