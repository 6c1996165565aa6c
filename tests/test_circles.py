"""No module imports itself by way of others, whether at the top, in a function or for types alone."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

ROOTS = ("detailscribe.state", "detailscribe.prompts", "detailscribe.tools", "detailscribe.agent")


def test_no_imports_go_in_a_circle():
    graph = grimp.build_graph(*ROOTS, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
