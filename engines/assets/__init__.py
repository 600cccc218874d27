"""Files that ship with the engines, apart from the models."""

from pathlib import Path

# NASA's portrait of the astronaut Eileen Collins, in the public domain, as scikit-image ships it:
# 512 × 512, RGB.
PORTRAIT = Path(__file__).with_name("portrait.jpg")
