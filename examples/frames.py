"""Say where in each frame the person is: ``python examples/frames.py CLIP > person.csv``.

One line a frame: its time in seconds, the share of it that is person, and the smallest box around
them in pixels, which is empty where nobody is.
"""

from __future__ import annotations

import argparse

import cv2

import wsshm


def main() -> None:
    parser = argparse.ArgumentParser(description="Say where in each frame the person is.")
    parser.add_argument("clip")
    parser.add_argument("--model", help="a shipped model or a file")
    given = parser.parse_args()
    print("time,share,left,top,width,height")
    for frame in wsshm.frames(given.clip, model=given.model):
        person = frame.alpha >= 128
        box = cv2.boundingRect(person.view("uint8"))
        print(f"{frame.time:.3f},{person.mean():.4f},{','.join(map(str, box))}")


if __name__ == "__main__":
    main()
