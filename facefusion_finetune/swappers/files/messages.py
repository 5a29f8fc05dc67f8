"""Which messages an ONNX file may consist of, checked on its bytes before protobuf parses them.

Protobuf turns an empty two-byte message into an object of a hundred bytes, and follows nested
messages. Here every field is counted first, text must be valid UTF-8, and what no swapper needs is
refused by field number: subgraphs, functions, training steps, sparse weights, strings, odd types.
Source: onnx.proto of the onnx package, IR version 13.
"""

from dataclasses import dataclass, field

from facefusion_finetune.swappers.files.wire import LENGTH, Data, Field, WireError, read_fields

MAX_TOTAL_FIELDS = 250_000
"""Of all messages. FaceFusion's largest graph has a tenth of that."""
MAX_TEXT = 1 << 16
"""Bytes of a name. Doc strings and metadata may be as long as `MAX_LONG_TEXT`."""
MAX_LONG_TEXT = 1 << 22
MAX_LISTS = 1 << 24
"""Bytes of all values that protobuf decodes one by one."""

TEXT, LONG_TEXT, NUMBERS = "text", "long text", "numbers"

_REFUSED = {
    ("model", 20): "training steps",
    ("model", 25): "functions of its own",
    ("model", 26): "a plan for several devices",
    ("graph", 15): "sparse weights",
    ("node", 10): "a plan for several devices",
    ("attribute", 6): "a graph inside a node",
    ("attribute", 10): "a list of tensors inside a node",
    ("attribute", 11): "a graph inside a node",
    ("attribute", 14): "a type inside a node",
    ("attribute", 15): "a type inside a node",
    ("attribute", 21): "a reference to a function's attribute",
    ("attribute", 22): "sparse weights",
    ("attribute", 23): "sparse weights",
    ("tensor", 3): "a tensor in segments",
    ("tensor", 6): "a string tensor",
    ("type", 4): "a sequence",
    ("type", 5): "a map",
    ("type", 7): "values of an opaque type",
    ("type", 8): "sparse values",
    ("type", 9): "an optional value",
}

_KNOWN = {
    "model": {
        **dict.fromkeys((2, 3, 4), TEXT),
        **{6: LONG_TEXT, 7: "graph", 8: "opset", 14: "entry"},
    },
    "opset": {1: TEXT},
    "entry": {1: TEXT, 2: LONG_TEXT},
    "graph": {
        **{1: "node", 2: TEXT, 5: "tensor", 10: LONG_TEXT, 14: "annotation", 16: "entry"},
        **dict.fromkeys((11, 12, 13), "value"),
    },
    "node": {
        **dict.fromkeys((1, 2, 3, 4, 7, 8), TEXT),
        **{5: "attribute", 6: LONG_TEXT, 9: "entry"},
    },
    "attribute": {1: TEXT, 5: "tensor", 7: NUMBERS, 8: NUMBERS, 13: LONG_TEXT},
    "tensor": {
        **{8: TEXT, 12: LONG_TEXT, 13: "entry", 16: "entry"},
        **dict.fromkeys((5, 7, 10, 11), NUMBERS),
    },
    "value": {1: TEXT, 2: "type", 3: LONG_TEXT, 4: "entry"},
    "type": {1: "sized", 6: TEXT},
    "sized": {2: "shape"},
    "shape": {1: "dim"},
    "dim": {2: TEXT, 3: TEXT},
    "annotation": {1: TEXT, 2: "entry"},
}


@dataclass
class _Count:
    fields: int = field(default=0)
    lists: int = field(default=0)


def check_messages(data: Data) -> None:
    """Check the message structure of a whole file.

    Raises:
        WireError: It is not a message, has too many fields, or contains something refused.
    """
    _check(data, "model", 0, len(data), _Count())


def _check(data: Data, kind: str, start: int, end: int, count: _Count) -> None:
    known = _KNOWN[kind]
    for part in read_fields(data, start, end):
        count.fields += 1
        if count.fields > MAX_TOTAL_FIELDS:
            raise WireError(f"it has more than {MAX_TOTAL_FIELDS} fields")
        if (kind, part.number) in _REFUSED:
            raise WireError(f"it contains {_REFUSED[kind, part.number]}, which no swapper needs")
        holds = known.get(part.number)
        if holds is None or part.wire != LENGTH:
            continue
        if holds in (TEXT, LONG_TEXT):
            _check_text(data, part, MAX_TEXT if holds == TEXT else MAX_LONG_TEXT)
        elif holds == NUMBERS:
            count.lists += part.end - part.body
            if count.lists > MAX_LISTS:
                raise WireError("it has too many values outside raw data")
        else:
            _check(data, holds, part.body, part.end, count)


def _check_text(data: Data, part: Field, longest: int) -> None:
    if part.end - part.body > longest:
        raise WireError(f"the text at byte {part.body} is too long")
    try:
        data[part.body : part.end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"the text at byte {part.body} is not UTF-8") from error
