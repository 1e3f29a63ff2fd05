"""The part of TensorFlow Lite's schema (version 3) that the pose models use; slots as in its ``schema.fbs``."""

from __future__ import annotations

from station.models.flatbuffer import Field, Schema

FLOAT32, FLOAT16, INT32, INT64, INT8 = 0, 1, 2, 4, 9

#: Builtin operators by name; a model with any other one is refused.
OPERATORS = {
    "ADD": 0, "AVERAGE_POOL_2D": 1, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "DEPTH_TO_SPACE": 5,
    "DEQUANTIZE": 6, "FULLY_CONNECTED": 9, "LOGISTIC": 14, "MAX_POOL_2D": 17, "RESHAPE": 22, "RESIZE_BILINEAR": 23,
    "PAD": 34, "QUANTIZE": 114, "DENSIFY": 124,
}  # fmt: skip


def _fields(*names_and_kinds: tuple[str, str]) -> tuple[Field, ...]:
    return tuple(Field(name, slot, kind) for slot, (name, kind) in enumerate(names_and_kinds))


SCHEMA = Schema(
    root="Model",
    identifier=b"TFL3",
    tables={
        "Model": (
            Field("version", 0, "uint"), Field("operator_codes", 1, "[OperatorCode]"),
            Field("subgraphs", 2, "[SubGraph]"), Field("description", 3, "string"), Field("buffers", 4, "[Buffer]"),
            Field("signature_defs", 7, "[SignatureDef]"),
        ),
        "OperatorCode": (
            Field("deprecated_builtin_code", 0, "byte"), Field("custom_code", 1, "string"),
            Field("version", 2, "int"), Field("builtin_code", 3, "int"),
        ),
        "SubGraph": _fields(
            ("tensors", "[Tensor]"), ("inputs", "[int]"), ("outputs", "[int]"), ("operators", "[Operator]"),
            ("name", "string"),
        ),
        "Tensor": (
            Field("shape", 0, "[int]"), Field("type", 1, "byte"), Field("buffer", 2, "uint"),
            Field("name", 3, "string"), Field("quantization", 4, "Quantization"), Field("is_variable", 5, "bool"),
            Field("sparsity", 6, "Sparsity"), Field("shape_signature", 7, "[int]"), Field("has_rank", 8, "bool"),
        ),
        "Quantization": (
            Field("min", 0, "[float]"), Field("max", 1, "[float]"), Field("scale", 2, "[float]"),
            Field("zero_point", 3, "[long]"), Field("quantized_dimension", 6, "int"),
        ),
        "Sparsity": _fields(
            ("traversal_order", "[int]"), ("block_map", "[int]"), ("dim_metadata", "[DimensionMetadata]"),
        ),
        "DimensionMetadata": _fields(
            ("format", "byte"), ("dense_size", "int"), ("array_segments_type", "ubyte"),
            ("array_segments", "union:array_segments_type"), ("array_indices_type", "ubyte"),
            ("array_indices", "union:array_indices_type"),
        ),
        "Int32Vector": _fields(("values", "[int]")),
        "Uint16Vector": _fields(("values", "[ushort]")),
        "Uint8Vector": _fields(("values", "[ubyte]")),
        "Buffer": (Field("data", 0, "[ubyte]", align=16),),
        "Operator": (
            Field("opcode_index", 0, "uint"), Field("inputs", 1, "[int]"), Field("outputs", 2, "[int]"),
            Field("builtin_options_type", 3, "ubyte"), Field("builtin_options", 4, "union:builtin_options_type"),
        ),
        "SignatureDef": (
            Field("inputs", 0, "[TensorMap]"), Field("outputs", 1, "[TensorMap]"),
            Field("signature_key", 2, "string"), Field("subgraph_index", 4, "uint"),
        ),
        "TensorMap": _fields(("name", "string"), ("tensor_index", "uint")),
        "Conv2DOptions": _fields(
            ("padding", "byte"), ("stride_w", "int"), ("stride_h", "int"), ("fused_activation_function", "byte"),
            ("dilation_w_factor", "int"), ("dilation_h_factor", "int"), ("quantized_bias_type", "byte"),
        ),
        "DepthwiseConv2DOptions": _fields(
            ("padding", "byte"), ("stride_w", "int"), ("stride_h", "int"), ("depth_multiplier", "int"),
            ("fused_activation_function", "byte"), ("dilation_w_factor", "int"), ("dilation_h_factor", "int"),
        ),
        "Pool2DOptions": _fields(
            ("padding", "byte"), ("stride_w", "int"), ("stride_h", "int"), ("filter_width", "int"),
            ("filter_height", "int"), ("fused_activation_function", "byte"),
        ),
        "AddOptions": _fields(("fused_activation_function", "byte"), ("pot_scale_int16", "bool")),
        "ConcatenationOptions": _fields(("axis", "int"), ("fused_activation_function", "byte")),
        "FullyConnectedOptions": _fields(
            ("fused_activation_function", "byte"), ("weights_format", "byte"), ("keep_num_dims", "bool"),
            ("asymmetric_quantize_inputs", "bool"), ("quantized_bias_type", "byte"),
        ),
        "ReshapeOptions": _fields(("new_shape", "[int]")),
        "ResizeBilinearOptions": (Field("align_corners", 2, "bool"), Field("half_pixel_centers", 3, "bool")),
        "DepthToSpaceOptions": _fields(("block_size", "int")),
        "PadOptions": (), "DequantizeOptions": (), "QuantizeOptions": (), "DensifyOptions": (),
    },
    unions={
        "array_segments_type": {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"},
        "array_indices_type": {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"},
        "builtin_options_type": {
            1: "Conv2DOptions", 2: "DepthwiseConv2DOptions", 5: "Pool2DOptions", 8: "FullyConnectedOptions",
            10: "ConcatenationOptions", 11: "AddOptions", 15: "ResizeBilinearOptions", 17: "ReshapeOptions",
            22: "PadOptions", 38: "DequantizeOptions", 89: "QuantizeOptions", 94: "DepthToSpaceOptions",
            99: "DensifyOptions",
        },
    },
)  # fmt: skip
