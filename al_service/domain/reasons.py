"""Why an image is shown, in words. Selectors give a code with parameters; people read one short line.

Codes are stored with every selection, so they never change; the words may.
"""

from collections.abc import Sequence
from typing import Any

REASON_CODES: dict[str, str] = {
    "margin": "uncertain between {first} and {second}",
    "uncertain": "the model is unsure, best guess {first}",
    "disagreement": "the model disagrees with itself, best guess {first}",
    "far": "unlike anything labelled so far",
    "margin+far": "uncertain between {first} and {second}, and unlike its neighbours",
    "typical": "typical of images that no label covers yet",
    "margin+typical": "uncertain between {first} and {second}, like many other images",
    "gradient": "its label would change the model much, best guess {first}",
    "random": "random check",
    "first_look": "first look: drawn at random to get started",
    "evaluation": "kept aside to measure the model",
    "task": "asked for by hand",
    "second_opinion": "second opinion",
    "class_split": "the class {was} was split",
}


def reason_text(reason: dict[str, Any], class_names: Sequence[str]) -> str:
    """One line for people.

    Args:
        reason: {"code": ..., "between": [class_index, ...]} as stored with a selection.
        class_names: in class_index order, as they were in the round that chose.

    >>> reason_text({"code": "margin", "between": [0, 1]}, ["cat", "dog"])
    'uncertain between cat and dog'
    """
    names = [class_names[index] for index in reason.get("between", []) if 0 <= index < len(class_names)]
    template = REASON_CODES.get(str(reason.get("code")), "chosen by the selector")
    if ("{second}" in template and len(names) < 2) or ("{first}" in template and not names):
        return "the model is unsure"
    first, second = (*names, "", "")[:2]
    return template.format(first=first, second=second, was=reason.get("class", "of before"))
