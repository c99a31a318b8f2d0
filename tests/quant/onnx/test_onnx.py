"""QONNX and QCDQ: executed by onnxruntime, by qonnx, and read back, they are the golden model's integers."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
from addax.common.errors import UserError
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.export import export
from addax.quant.files.archive import program_bytes
from addax.quant.formats import signed, unsigned
from addax.quant.onnx.functions import DOMAIN, QONNX, SIGNATURES, function
from addax.quant.onnx.qcdq import qcdq_model
from addax.quant.onnx.read import import_onnx
from addax.quant.onnx.write import qonnx_model
from addax.quant.program import MaxPool, PixelShuffle, Upsample
from choosing_networks import random_choosing
from graphs import NAMED, named
from networks import (
    Builder,
    random_bending,
    random_graph,
    random_images,
    random_program,
    random_reshaping,
    random_windows,
)
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_files import changed, saved, set_attribute
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes
from token_networks import random_tokens

KERNELS = tuple(kernel for kernel in zoo.KERNELS if zoo.shipped_checkpoint("lenet5", kernel) is not None)
IMAGES = 100


def run(model, pixels):
    """Scores and classes by onnxruntime, which knows nothing of us."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["scores", "class"], {"pixels": pixels.astype(np.float32)})


def agrees(found, program, pixels):
    expected = golden.run(program, pixels)
    scores, classes = found
    assert scores.dtype == classes.dtype == np.int64
    assert np.array_equal(scores, expected.scores)
    assert np.array_equal(classes, expected.classes)


# QONNX executed


@pytest.mark.parametrize("name", NAMED)
def test_qonnx_gives_the_scores_of_the_golden_model_in_onnxruntime(name):
    program = named(name)
    model = qonnx_model(program)
    onnx.checker.check_model(model, full_check=True)

    agrees(run(model, random_images(program, IMAGES, 0)), program, random_images(program, IMAGES, 0))


def crooked(program):
    """Whether it has a max pool that the reference implementation of ONNX gets wrong: where both strides are 1, it
    takes the pads in another order than the standard and onnxruntime."""
    pools = [op for op in program.ops if isinstance(op, MaxPool)]
    return any(op.stride == 1 and isinstance(op.padding, tuple) for op in pools)


@pytest.mark.parametrize("name", [name for name in NAMED if not crooked(named(name))])
def test_qonnx_gives_the_scores_of_the_golden_model_in_another_runtime(name):
    """The reference implementation of the ONNX standard, in numpy."""
    program = named(name)
    pixels = random_images(program, 3, 1)

    found = ReferenceEvaluator(qonnx_model(program)).run(["scores", "class"], {"pixels": pixels.astype(np.float32)})

    agrees(found, program, pixels)


@pytest.mark.parametrize("kernel", KERNELS)
def test_qonnx_of_lenet5_classifies_digits_as_the_golden_model(lenet, digits, kernel):
    program = lenet(kernel)
    model = qonnx_model(program)
    onnx.checker.check_model(model, full_check=True)

    agrees(run(model, digits.x[:IMAGES]), program, digits.x[:IMAGES])


def in_qonnx(program, pixels):
    """Scores and classes by the executor of qonnx, node by node, without the functions in the file."""
    model = qonnx_model(program, images=len(pixels))
    del model.functions[:]
    found = execute_onnx(ModelWrapper(model), {"pixels": pixels.astype(np.float32)})
    return found["scores"], found["class"]


@pytest.mark.parametrize("name", NAMED)
def test_qonnx_gives_the_scores_of_the_golden_model_in_qonnx(name):
    program = named(name)
    pixels = random_images(program, IMAGES, 0)

    agrees(in_qonnx(program, pixels), program, pixels)


@pytest.mark.parametrize("kernel", KERNELS)
def test_qonnx_executes_lenet5_as_the_golden_model(lenet, digits, kernel):
    agrees(in_qonnx(lenet(kernel), digits.x[:IMAGES]), lenet(kernel), digits.x[:IMAGES])


@pytest.mark.parametrize(
    "name",
    [
        "adder",
        "mult-16",
        "xnor",
        "shift",
        "wide",
        "small",
        "moved",
        "moves0",
        "moves4",
        "graph3",
        "graph7",
        "mult-16-spaced",
        "windows9",
        "gated",
        "wide-product",
        "choices0",
        "wide-choices",
        "tokens0",
        "tokens5",
    ],
)
def test_qonnx_infers_shapes_and_datatypes_of_our_nodes(name):
    """From the nodes alone, it finds the shapes and formats of the Program."""
    program = named(name)
    model = qonnx_model(program, images=3)
    del model.graph.value_info[:]

    inferred = ModelWrapper(model).transform(InferShapes()).transform(InferDataTypes())

    for op in program.ops[1:-1]:
        assert inferred.get_tensor_shape(f"{op.name}.out") == [3, *program.shape(op.name)]
        if type(op).__name__ in ("Requantise", "Threshold", "Table"):
            found = inferred.get_tensor_datatype(f"{op.name}.out")
            fmt = program.format(op.name)
            assert (found.bitwidth(), found.signed()) == (fmt.bits, fmt.signed), op.name


def test_images_may_come_one_by_one_or_many_at_a_time():
    program = named("graph7")
    model = qonnx_model(program)

    for count in (1, 7):
        agrees(run(model, random_images(program, count, 3)), program, random_images(program, count, 3))


def test_every_operation_of_our_domain_is_among_the_programs_tried():
    used = {(node.domain, node.op_type) for name in NAMED for node in qonnx_model(named(name)).graph.node}

    assert SIGNATURES.keys() <= used


def test_a_convolution_that_floats_would_round_is_computed_in_integers():
    program = named("exact")
    scores = golden.run(program, random_images(program, IMAGES, 0)).scores

    assert np.any(scores.astype(np.float32) != scores), "floats would do"
    assert "IntegerConv" in {node.op_type for node in qonnx_model(program).graph.node}


@pytest.mark.parametrize(
    ("domain", "name", "inputs", "attributes", "expected"),
    [
        (DOMAIN, "Requantise", [[[[[-3, -1, 0, 5]]]], [1], [0]], {"shift": 1, "lo": -2, "hi": 9}, [[[[-2, -1, 0, 2]]]]),
        (DOMAIN, "Requantise", [[[[[2**40, -(2**40)]]]], [3], [2**50]],
         {"shift": 31, "lo": -(2**61), "hi": 2**61}, [[[[525824, 522752]]]]),
        (DOMAIN, "Threshold", [[[[[-5, 2, 3]]]], [[2, 3]], [0]], {}, [[[[0, 1, 2]]]]),
        (DOMAIN, "Threshold", [[[[[-5, 2, 3]]]], [[2, 3]], [1]], {}, [[[[2, 1, 0]]]]),
        (DOMAIN, "Table", [[[[[-1, 0, 2]]]], [[7, 8, 9, 10]]], {"lowest": -1}, [[[[7, 8, 10]]]]),
        (DOMAIN, "Choose", [[[[[0, 1, 2]]]], [[[[5, 6, 7]]]], [[[[-5, -6, -7]]]]], {"number": 1}, [[[[-5, 6, -7]]]]),
        (DOMAIN, "SumChannels", [[[[[2**40]], [[5]], [[-2]], [[1]]]], [0, 2]], {}, [[[[2**40 + 5]], [[-1]]]]),
        (DOMAIN, "MaxChannels", [[[[[2**40]], [[5]], [[-2]], [[1]]]], [0, 2]], {}, [[[[2**40]], [[1]]]]),
        (DOMAIN, "MultScores", [[[[[2**40, 3]], [[1, -2]]]], [[[[5]], [[7]]]], [0, 1, 1, 2]], {"heads": 1},
         [[[[5 * 2**40 + 7, 1]]]]),
        (DOMAIN, "MultScores", [[[[[2**40, 3]], [[1, -2]]]], [[[[5]], [[7]]]], [0, 2, 1, 2]], {"heads": 2},
         [[[[5 * 2**40, 15]], [[7, -14]]]]),
        (DOMAIN, "AdderScores", [[[[[2**40, 3]], [[1, -2]]]], [[[[5]], [[7]]]], [0, 1, 1, 2]], {"heads": 1},
         [[[[-(2**40) - 1, -11]]]]),
        (DOMAIN, "MultContext", [[[[[2**40], [3]], [[1], [-2]]]], [[[[5, 7]]]], [0, 1, 2, 1]], {"heads": 1},
         [[[[5 * 2**40 + 7], [1]]]]),
        (DOMAIN, "AdderContext", [[[[[2**40], [3]], [[1], [-2]]]], [[[[5, 7]]]], [0, 1, 2, 1]], {"heads": 1},
         [[[[-(2**40) - 1], [-11]]]]),
        (DOMAIN, "DeferredSoftmax", [[[[[7, 2]], [[5, 9]], [[-90, 3]]]], [99, 50, 9, 1], [[1, 1, 1], [1, 0, 1]]],
         {"heads": 1}, [[[[99, 50]], [[9, 0]], [[1, 99]]]]),
        (DOMAIN, "DeferredSoftmax", [[[[[2**40]], [[2**40 - 1]], [[5]], [[5]]]], [99, 50], [[1]]], {"heads": 2},
         [[[[99]], [[50]], [[99]], [[99]]]]),
        (DOMAIN, "IntegerDivide", [[[[[2**40, -5]], [[7, 7]]]], [[[[3, 0]]]], [2, 1], [0, 1]],
         {"shift": 1, "lo": -9, "hi": 2**50}, [[[[2**40 // 3, -5]], [[1, 4]]]]),
        (DOMAIN, "IntegerNorm", [[[[[3, 5]], [[-3, 5]]]], [2, -1], [0, 1], [0, 0]],
         {"fraction": 4, "reciprocal": 12, "cut": 4, "eps": 1, "shift": 1, "lo": -400, "hi": 400},
         [[[[15, 0]], [[8, 0]]]]),
        (DOMAIN, "IntegerNorm", [[[[[2**20]], [[-(2**20)]], [[0]]]], [1, 1, 1], [0, 0, 0], [0, 1, 3]],
         {"fraction": 5, "reciprocal": 40, "cut": 30, "eps": 0, "shift": 0, "lo": -999, "hi": 999},
         [[[[34]], [[-43]], [[8]]]]),
        (DOMAIN, "IntegerRearrange", [[[[[1, 2, 3], [4, 5, 2**40]]]], [0, 2, 3], [0, 3, 1, 2]], {"perm": [0, 2, 1]},
         [[[[1, 4]], [[2, 5]], [[3, 2**40]]]]),
        (DOMAIN, "IntegerUnfold", [[[[[1, 2, 3, 4]]]], [9], [0, 2, 2, 2]],
         {"block": [1, 2], "kernel_shape": [1, 2], "strides": [1, 1], "pads": [0, 1, 0, 0]},
         [[[[9, 1], [9, 3]], [[1, 2], [3, 4]]]]),
        (DOMAIN, "Table", [[[[[0, 1]], [[1, 0]]]], [[7, 8], [-1, -2]]], {"lowest": 0}, [[[[7, 8]], [[-2, -1]]]]),
        (QONNX, "Quant", [[-200.0, -1.5, 0.5, 2.5], 1.0, 0.0, 8.0], {"signed": 1, "narrow": 1}, [-127, -2, 0, 2]),
        (QONNX, "Quant", [[-3.0, 0.7, 99.0], 0.5, 1.0, 4.0], {"signed": 0, "narrow": 1}, [-0.5, 0.5, 6.5]),
        (QONNX, "BipolarQuant", [[-0.5, -0.0, 3.0], 0.25], {}, [-0.25, 0.25, 0.25]),
    ],
)  # fmt: skip
def test_functions_say_what_the_operations_mean(domain, name, inputs, attributes, expected):
    """The body in onnxruntime, and the executor in qonnx."""
    kind = np.float32 if domain == QONNX else np.int64
    defaults = {"bits": 62, "signed": 1, "terms": 0, "dtype": onnx.TensorProto.INT64, "rounding_mode": "ROUND"}
    given = {key: attributes.get(key, defaults.get(key)) for key in SIGNATURES[domain, name][1]}
    arrays = dict(zip(SIGNATURES[domain, name][0], (np.array(value, kind) for value in inputs), strict=True))
    node = helper.make_node(name, list(arrays), ["y"], domain=domain, **given)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info(key, element, value.shape) for key, value in arrays.items()],
        [helper.make_tensor_value_info("y", element, None)],
    )  # fmt: skip
    model = helper.make_model(
        graph, functions=[function(domain, name)], ir_version=10,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)],
    )  # fmt: skip

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, arrays)[0], np.array(expected, kind))

    from qonnx.custom_op.registry import getCustomOp

    context = dict(arrays)
    getCustomOp(node).execute_node(context, graph)
    assert np.array_equal(context["y"], np.array(expected, kind))


@pytest.mark.parametrize(
    ("make", "seed"),
    [
        *product((random_reshaping, random_bending), range(12)),
        *product([random_choosing], range(3)),
        *product([random_tokens], range(8)),
    ],
)
def test_raw_output_is_that_of_the_golden_model_everywhere(tmp_path, seed, make):
    """In onnxruntime, in the reference of the standard, in qonnx, and read back, without scores or class."""
    program = make(seed, raw=True)
    pixels, model = random_images(program, 5, seed), qonnx_model(program, images=5)
    onnx.checker.check_model(model, full_check=True)
    expected, given = golden.run(program, pixels).output, {"pixels": pixels.astype(np.float32)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    assert [info.name for info in model.graph.output] == ["output"]
    assert np.array_equal(session.run(None, given)[0], expected)
    assert np.array_equal(ReferenceEvaluator(model).run(None, given)[0], expected)
    assert program_bytes(import_onnx(saved(model, tmp_path))) == program_bytes(program)
    del model.metadata_props[:]
    assert program_bytes(import_onnx(saved(model, tmp_path))) == program_bytes(program)
    del model.functions[:]
    assert np.array_equal(execute_onnx(ModelWrapper(model), given)["output"], expected)


def enlarging():
    """What QCDQ can say, ending in a shuffled map: an image twice as large."""
    b = Builder(np.random.default_rng(9), (1, 5, 4))
    b.shift()
    b.convolution("mult", 6, 3, padding=1, weight_bits=5)
    b.rescale(unsigned(8))
    b.shift()
    b.enlarge(Upsample, 2)
    b.convolution("mult", 4, 3, padding=1, weight_bits=5)
    b.rescale(signed(7))
    b.enlarge(PixelShuffle, 2)
    return b.raw()


def test_qcdq_of_moves_is_standard_and_gives_the_golden_output(tmp_path):
    program = enlarging()
    pixels, model = random_images(program, IMAGES, 0), qcdq_model(program)
    onnx.checker.check_model(model, full_check=True)

    assert not model.functions and {node.domain for node in model.graph.node} == {""}
    assert {"DepthToSpace", "Resize"} <= {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = golden.run(program, pixels).output
    assert len(np.unique(expected)) > 20
    assert np.array_equal(session.run(["output"], {"pixels": pixels.astype(np.float32)})[0], expected)
    assert program_bytes(import_onnx(saved(model, tmp_path))) == program_bytes(program)


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("DepthToSpace", "mode", "DCR", "its mode must be CRD, the order of torch's pixel shuffle, not DCR"),
        ("DepthToSpace", "mode", None, "its mode must be CRD"),
        ("Resize", "mode", "linear", r"only nearest neighbours \(asymmetric, floor\) are supported, not linear"),
        ("Resize", "nearest_mode", "ceil", r"not nearest \(asymmetric, ceil\)"),
        ("Resize", "coordinate_transformation_mode", "align_corners", r"not nearest \(align_corners, floor\)"),
    ],
)
def test_moves_in_another_order_are_refused(tmp_path, kind, name, value, message):
    """Read without a word, they would be the same shape and other pixels."""
    path = saved(qonnx_model(enlarging()), tmp_path)

    with pytest.raises(UserError, match=message):
        import_onnx(changed(path, lambda m: set_attribute(m, kind, name, value)))


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("Choose", "number", 5, r"it chooses \d of number, and behind it is what 5 of number begins"),
        ("ArgMax", "axis", 2, "the arg-max of addax is over channels, axis 1"),
    ],
)
def test_choices_that_were_changed_are_refused(tmp_path, kind, name, value, message):
    """Read without a word, they would be the same shape and other branches."""
    path = saved(qonnx_model(named("chosen")), tmp_path)

    with pytest.raises(UserError, match=message):
        import_onnx(changed(path, lambda m: set_attribute(m, kind, name, value)))


# QONNX read back


@pytest.mark.parametrize("name", NAMED)
def test_qonnx_is_read_back_to_the_same_program(tmp_path, name):
    program = replace(named(name), steps={"pixels": 1 / 255}, metadata={"network": name, "bits": "8"})

    again = import_onnx(saved(qonnx_model(program), tmp_path))

    assert program_bytes(again) == program_bytes(program)


@pytest.mark.parametrize("kernel", KERNELS)
def test_exported_lenet5_is_read_back_to_the_same_program(tmp_path, lenet, kernel):
    out = export(lenet(kernel), tmp_path / "out", fmt="qonnx")

    assert program_bytes(import_onnx(out / "network.onnx")) == program_bytes(lenet(kernel))


def test_a_file_without_our_metadata_is_read_by_its_nodes(tmp_path):
    program = named("graph7")
    model = qonnx_model(program)
    del model.metadata_props[:]

    again = import_onnx(saved(model, tmp_path))

    images = random_images(program, 8, 1)
    assert np.array_equal(golden.run(again, images).scores, golden.run(program, images).scores)


# QCDQ


def legal(make, seeds):
    """Programs of ``make`` that QCDQ can say."""
    found = []
    for seed in seeds:
        try:
            qcdq_model(make(seed))
        except UserError:
            continue
        found.append(pytest.param(make, seed, id=f"{make.__name__}{seed}"))
    return found


@pytest.mark.parametrize(
    ("make", "key"),
    [*product([named], ["small", "gated", "chosen", "attended", "mult", "mult-signed"]),
     *legal(random_program, range(40)),
     *legal(random_graph, range(40)), *legal(random_windows, range(60))],
)  # fmt: skip
def test_qcdq_is_standard_and_gives_the_scores_of_the_golden_model(tmp_path, make, key):
    program = make(key)
    model = qcdq_model(program)
    onnx.checker.check_model(model, full_check=True)

    assert not model.functions and {node.domain for node in model.graph.node} == {""}
    assert [item.domain for item in model.opset_import] == [""]
    agrees(run(model, random_images(program, IMAGES, 0)), program, random_images(program, IMAGES, 0))
    assert program_bytes(import_onnx(saved(model, tmp_path))) == program_bytes(program)


def test_qcdq_of_lenet5_classifies_digits_as_the_golden_model(lenet, digits):
    model = qcdq_model(lenet("mult"))

    agrees(run(model, digits.x[:IMAGES]), lenet("mult"), digits.x[:IMAGES])
    kinds = Counter(node.op_type for node in model.graph.node)
    convolutions = kinds["Conv"]
    assert kinds["DequantizeLinear"] == 2 * convolutions, "the weights and the features of each"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adder", r"conv\d+ has no QCDQ form: its kernel is adder, and standard quantised operations only multiply"),
        ("xnor", r"thr\d+ has no QCDQ form: it counts thresholds"),
        ("shift", r"conv\d+ has no QCDQ form: its kernel is shift"),
        ("mult-1", r"conv\d+ has no QCDQ form: its weights are uint1, and QuantizeLinear makes 2 to 8 bits"),
        ("mult-16", r"conv\d+ has no QCDQ form: its weights are int16"),
        ("wide", r"conv\d+ has no QCDQ form: its weights are int16, .*; export qonnx instead"),
        ("wide-product", r"product\d+ has no QCDQ form: its products are int32, which floats do not hold"),
    ],
)
def test_what_qcdq_cannot_say_is_refused_by_name_and_reason(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        export(named(name), tmp_path / "out", fmt="qcdq")

    assert list(tmp_path.iterdir()) == []
