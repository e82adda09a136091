"""Prints, as Markdown, who may call what: every method of the contracts with its route and the scope it needs.

usage: python protos/access.py IMAGE STUBS

IMAGE is a descriptor set of the contracts, STUBS the folder of the generated code. `generate.py` keeps the result in
ACCESS.md.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

HEAD = """# Who may call what

Generated from the contracts by `make protos`; `make check` fails while it differs. A method that declares nothing does
not start. The scope `admin` satisfies every other. gRPC callers reach every method by its name; REST clients those with
a route.
"""


def main() -> None:
    """Entry point."""
    image, stubs = Path(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, stubs)
    # Only now: the generated code is where the caller says.
    from gaia.rest.v1 import options_pb2
    from google.api import annotations_pb2, http_pb2
    from google.protobuf import descriptor_pb2

    def routes(rule: http_pb2.HttpRule) -> Iterator[str]:
        pattern = rule.WhichOneof("pattern")
        if pattern == "custom":
            yield f"{rule.custom.kind} {rule.custom.path}"
        elif pattern is not None:
            yield f"{pattern.upper()} {getattr(rule, pattern)}"
        for additional in rule.additional_bindings:
            yield from routes(additional)

    def access(rules: options_pb2.MethodRules) -> str:
        if rules.public:
            return "anybody"
        return " or ".join(f"`{scope}`" for scope in rules.scopes) or "any valid key"

    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    lines = [HEAD]
    for file in sorted(files.file, key=lambda one: one.name):
        if not file.package.startswith("gaia."):
            continue
        for service in file.service:
            lines += [f"## {file.package}.{service.name}\n", "| method | route | scope |", "|---|---|---|"]
            for method in service.method:
                listed = "<br>".join(f"`{route}`" for route in routes(method.options.Extensions[annotations_pb2.http]))
                scope = access(method.options.Extensions[options_pb2.rules])
                lines.append(f"| {method.name} | {listed or 'gRPC only'} | {scope} |")
            lines.append("")
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
