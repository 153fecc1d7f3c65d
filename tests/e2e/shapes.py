"""What botocore's models say that an answer looks like, and where one does not."""

import base64

SCALARS = {"string": str, "integer": int, "long": int, "boolean": bool, "timestamp": (int, float), "blob": str}


def misshapen(value, shape, path):
    """Where a JSON value is not of a shape of botocore's model."""
    if shape is None:
        if value != {}:
            yield f"{path} says something where nothing is to be said"
    elif shape.type_name == "structure":
        if not isinstance(value, dict):
            yield f"{path} is no structure"
            return
        for key, inner in value.items():
            if key not in shape.members:
                yield f"{path}.{key} is unknown"
            else:
                yield from misshapen(inner, shape.members[key], f"{path}.{key}")
        for key in shape.required_members:
            if key not in value:
                yield f"{path}.{key} is missing"
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for index, inner in enumerate(value):
            yield from misshapen(inner, shape.member, f"{path}[{index}]")
    elif not isinstance(value, SCALARS[shape.type_name]) or (
        isinstance(value, bool) and shape.type_name != "boolean"
    ):
        yield f"{path} is a {type(value).__name__}, not a {shape.type_name}"
    elif shape.type_name == "blob":
        base64.b64decode(value, validate=True)
    elif value not in (getattr(shape, "enum", None) or [value]):
        yield f"{path} is {value!r}, none of the known"
