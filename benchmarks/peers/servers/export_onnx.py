"""Export of the model for the engines: `export_onnx.py MODEL` writes FLOAT32 and INT8 into its folder."""

import sys
from pathlib import Path

FLOAT32, INT8 = "model.onnx", "model-int8.onnx"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def main(folder: Path) -> None:
    """Export with torch, and quantise the weights per channel with ONNX Runtime."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    model.config.return_dict = False
    example = {name: torch.ones((2, 16), dtype=torch.int64) for name in INPUTS}
    texts, tokens = torch.export.Dim("texts", min=1, max=256), torch.export.Dim("tokens", min=2, max=512)
    program = torch.onnx.export(
        model,
        kwargs=example,
        dynamic_shapes={name: {0: texts, 1: tokens} for name in INPUTS},
        input_names=INPUTS,
        output_names=["logits"],
        dynamo=True,
    )
    assert program is not None
    partial = folder / f"partial-{FLOAT32}"
    program.save(partial)
    quantize_dynamic(partial, folder / INT8, weight_type=QuantType.QInt8, per_channel=True)
    partial.rename(folder / FLOAT32)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
