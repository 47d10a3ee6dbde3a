"""Loops of ONNX graphs without what every turn would compute again."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, NodeProto


def hoist(graph: GraphProto) -> None:
    """Move what is the same in every turn of a loop from its body to before the loop.

    spox writes a value into the body if only the body uses it. Names are unique in the whole model.
    """
    nodes = []
    for node in graph.node:
        for body in _bodies(node):
            hoist(body)
            graph.initializer.extend(body.initializer)
            del body.initializer[:]
            nodes += _taken_from(body)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _taken_from(body: GraphProto) -> list[NodeProto]:
    """Remove and return the nodes that depend on nothing that changes between turns."""
    changing, outputs = {x.name for x in body.input}, {x.name for x in body.output}
    kept, taken = [], []
    for node in body.node:
        if changing.isdisjoint(used_by(node)) and outputs.isdisjoint(node.output):
            taken.append(node)
        else:
            kept.append(node)
            changing.update(node.output)
    del body.node[:]
    body.node.extend(kept)
    return taken


def used_by(node: NodeProto) -> Iterator[str]:
    """Names of the values that a node uses, within its bodies too."""
    yield from node.input
    for body in _bodies(node):
        for inner in body.node:
            yield from used_by(inner)


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]
