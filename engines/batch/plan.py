"""Plan a batch: the outputs of each input, and by the manifest what is left to do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from engines import images, models
from engines.batch.inputs import Found
from engines.batch.manifest import Manifest, Record, identity
from engines.batch.work import Work
from engines.errors import CannotCreate, UsageError, reading
from engines.files import counted, destination, sha256, some
from engines.video.compose import kinds
from engines.video.compose.open import open_background
from engines.video.config import Clip, Encoding, RunConfig
from engines.video.write.codecs import CONTAINERS, find_codec, suffixes_with_alpha
from engines.video.write.encoders import choose, for_alpha
from engines.video.write.open import Target, name_targets, needs_alpha

OTHER_FOLDER = "name another folder with -o"
# Of a config: what no output depends on, and what each work has its own of.
_NO_OPTIONS = {
    *("input", "output", "output_is_folder", "overwrite", "device", "engine", "fps", "reconnect"),
    *("threads", "network_threads", "max_workers", "virtual_camera", "virtual_device", "preview"),
    *("segment", "encoding.threads"),
}


@dataclass(frozen=True)
class Plan:
    """What a batch is to do.

    Attributes:
        folder: of the outputs.
        options: what the outputs depend on, see `Record.options`.
        order: all inputs.
        works: to be done, in that order.
        finished: done by an earlier call, with their records.
        unusable: inputs that an earlier call could not use, and that have not changed.
        left_out: of what was found, the files that an earlier call has made.
    """

    folder: Path
    options: Mapping[str, str]
    order: list[Work]
    works: list[Work]
    finished: list[tuple[Work, Record]]
    unusable: list[tuple[Work, Record]]
    left_out: list[Path]

    @property
    def total(self) -> int:
        """Number of inputs."""
        return len(self.order)

    def key(self, work: Work) -> str:
        """Return the name of a work in the manifest: the path of its first output."""
        return relative(work.outputs[0], self.folder)


def relative(path: Path, folder: Path) -> str:
    """Return the path of a file in a folder, written the same on every system."""
    return path.relative_to(folder).as_posix()


def make(config: RunConfig, found: Sequence[Found], folder: Path, manifest: Manifest) -> Plan:
    """Return what is to be done so that every input has its outputs in `folder`.

    Outputs of an earlier call are no inputs: the folder may lie among these.

    Args:
        config: the request, whose input and output are replaced for each work.

    Raises:
        UsageError: the options are for no input here, two inputs would write one name, an output
            would replace an input, or all that was found are outputs.
        CannotCreate: outputs are there already that are not those asked for, and may not be
            replaced.
        WsshmError: background or model cannot be used.
    """
    ours = _outputs(manifest)
    left_out = [f.path for f in found if os.path.realpath(f.path) in ours]
    found = [f for f in found if os.path.realpath(f.path) not in ours]
    if not found:
        what = "made by an earlier call, and all that there is"
        raise UsageError(f"{some([str(p) for p in left_out])}: {what}", OTHER_FOLDER)
    named = _named(config, found, folder)
    works = [work for work, _ in named]
    _check_request(config, [target for _, targets in named for target in targets])
    _check_names(works)
    plan = Plan(folder, options_of(config), works, [], [], [], left_out)
    judge(plan, manifest, config.overwrite, OTHER_FOLDER)
    return plan


def judge(plan: Plan, manifest: Manifest, overwrite: bool, instead: str) -> None:
    """Tell, by the manifest, the works of a plan that are to be done from those that are finished.

    Args:
        plan: whose `order` is known; its `works`, `finished` and `unusable` are filled.
        overwrite: whether what other options made may be replaced.
        instead: what else the user can do.

    Raises:
        CannotCreate: outputs are there already that may not be replaced.
    """
    conflicts: dict[str, list[str]] = {}
    for work in plan.order:
        record, key = manifest.records.get(plan.key(work)), plan.key(work)
        state, why = _judge(work, record, plan)
        if state == "finished":
            assert record is not None
            plan.finished.append((work, record))
        elif state == "unusable":
            assert record is not None
            plan.unusable.append((work, record))
        elif state == "conflict":
            conflicts.setdefault(why, []).append(key)
            plan.works.append(replace(work, config=replace(work.config, overwrite=True)))
        elif state == "again":
            again = replace(work.config, overwrite=True)
            plan.works.append(replace(work, config=again, again=True))
        else:
            plan.works.append(work)
    if conflicts and not overwrite:
        texts = [
            f"{counted(len(names), 'file')} {why} ({some(names)})"
            for why, names in conflicts.items()
        ]
        raise CannotCreate(
            f"{plan.folder}: holds {' and '.join(texts)}",
            f"{instead}, or add --overwrite to make those again",
        )


def options_of(config: RunConfig) -> dict[str, str]:
    """Return all of a request that outputs depend on, as text by name.

    A file is known by its name and what is in it, from whatever folder it is named.

    Raises:
        CannotOpen: there is no such model, or it cannot be read.
    """
    options: dict[str, str] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{name}.{key}" if name else key, inner)
        elif name not in _NO_OPTIONS:
            values = value if isinstance(value, tuple) else (value,)
            options[name] = ", ".join(str(v.value if isinstance(v, Enum) else v) for v in values)

    add("", asdict(config))
    if kinds.find(config.background) is None:
        options["background"] = Path(config.background).name
        options["background file"] = str(identity(Path(config.background)))
    if config.model is not None:
        options["model"] = Path(config.model).name
    with reading(file := models.find(config.model)):
        options["model SHA-256"] = sha256(file)
    if (size := models.own_size(config.model)) is not None:
        options["model size"] = str(size)
    return options


def _outputs(manifest: Manifest) -> set[str]:
    """Return the real paths of what earlier calls have made, and its own."""
    folder = manifest.path.parent
    made = {manifest.path}
    for key, record in manifest.records.items():
        made |= {folder / name for name in record.outputs}
        if record.state == "begun":  # and perhaps finished, by a process that was killed
            made.add(folder / key)
    return {os.path.realpath(path) for path in made}


def _named(
    config: RunConfig, found: Sequence[Found], folder: Path
) -> list[tuple[Work, list[Target]]]:
    """Return a work for each input, with what it writes."""
    stills = [images.is_still(f.path) for f in found]
    if all(stills) and _for_image(config) != config:
        raise UsageError(
            "no video among the inputs: --start, --duration, --codec, --crf, --bits, --size auto "
            "and --realtime are for videos"
        )
    works = []
    for (path, place), is_image in zip(((f.path, f.place) for f in found), stills, strict=True):
        its = _for_image(config) if is_image else config
        output = folder / place.with_suffix(_suffix(its, is_image))
        its = replace(its, input=path, output=output, output_is_folder=False, overwrite=False)
        targets = name_targets(its, path, is_image, not is_image)
        works.append((Work(its, tuple(t.path for t in targets)), targets))
    return works


def _for_image(config: RunConfig) -> RunConfig:
    """Return a request without what is for videos alone."""
    plain = Encoding(audio=config.encoding.audio, preset=config.encoding.preset)
    return replace(
        config, encoding=plain, clip=Clip(), bit_depth=8, auto_size=False, realtime=False
    )


def _suffix(config: RunConfig, is_image: bool) -> str:
    """Return the suffix of a first output: of the kind that holds its codec and alpha."""
    if is_image:
        return ".png"
    alpha = needs_alpha(config.save[0], config.is_transparent)
    able = suffixes_with_alpha(config.bit_depth) if alpha else [*CONTAINERS]
    if config.encoding.codec:
        codec = find_codec(config.encoding.codec)
        fitting = codec.containers_with_alpha if alpha else codec.containers
        return next((suffix for suffix in able if suffix in fitting), able[0])
    return able[0]


def _check_request(config: RunConfig, targets: Iterable[Target]) -> None:
    """Check once what would make every input fail; raises what its first run would raise."""
    background = open_background(
        config.background,
        fit=config.background_fit,
        bit_depth=config.bit_depth,
        colour=config.background_colour,
    )
    if background is not None:
        background.close()
    for suffix, alpha in {(t.suffix, t.alpha) for t in targets if t.suffix in CONTAINERS}:
        encoding = config.encoding
        if alpha and len(config.save) > 1:
            encoding = for_alpha(encoding, suffix, config.bit_depth)
        choose(encoding, suffix, alpha, config.bit_depth)


def _check_names(works: Sequence[Work]) -> None:
    """Check that no file is written twice, and no input replaced.

    Names that differ in case alone are one where a system takes them for one.
    """
    written: dict[str, Work] = {}
    for work in works:
        for output in work.outputs:
            other = written.setdefault(os.path.normcase(output), work)
            if other is not work:
                raise UsageError(
                    f"{other.name} and {work.name} would both be written to {output}",
                    "rename one, or run them into two folders",
                )
    read = {os.path.realpath(work.name) for work in works}
    for work in works:
        for output in work.outputs:
            if os.path.realpath(output) in read:
                raise UsageError(f"{output}: is an input", OTHER_FOLDER)


def _judge(work: Work, record: Record | None, plan: Plan) -> tuple[str, str]:
    """Return what is to be done about a work.

    Returns:
        ``new``, ``again`` (what is there is ours and half done), ``finished``, ``unusable``, or
        ``conflict`` with the reason why what is there may not be replaced.
    """
    there = {}
    for output in work.outputs:
        if (found := identity(destination(output))) is not None:
            there[relative(output, plan.folder)] = found.size
    if record is None:
        return ("conflict", "of these names already") if there else ("new", "")
    if record.state == "begun":  # what is there may be what a killed process had finished
        return "again", ""
    if others := [name for name, size in there.items() if size != record.outputs.get(name)]:
        is_ours = any(name in record.outputs for name in others)
        return "conflict", "changed afterwards" if is_ours else "of these names already"
    if record.state not in ("done", "unusable"):
        return "again", ""
    changed = ""
    if record.options != plan.options:
        changed = f"made with other options: {_difference(record.options, plan.options)}"
    elif record.made_of != identity(Path(work.name)):
        changed = "made from another version of the input"
    if changed:
        return ("conflict", changed) if there else ("new", "")
    if len(there) < len(record.outputs):  # removed, so that it is made again
        return "again", ""
    return ("finished" if record.state == "done" else "unusable"), ""


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return the first option that differs, as it was and as it is."""
    names = [n for n in {**old, **new} if old.get(n) != new.get(n)]
    name, *others = names
    more = f" and {len(others)} more" if others else ""
    if "SHA" in name or "file" in name:
        return f"another {name.split()[0]}{more}"
    return f"{name} was {old.get(name)}, is {new.get(name)}{more}"
