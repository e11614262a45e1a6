"""Construction of SAM3's image model from `sam3`'s own classes, at any configuration.

The full configuration is `sam3.model_builder.build_sam3_image_model` itself; other ones compose
the same classes with the same choices at other sizes. A test holds the two ways against each
other. The caller holds `sam_tvm.patches.environment.reference_environment()`: some constructors
name a CUDA device.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from sam_tvm.models.construction import SkipRandomValues
from sam_tvm.models.presets import FULL, Sam3Config
from sam_tvm.runtime.errors import UserError

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image
    from torch import nn

BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
DROPOUT = 0.1  # inert in evaluation, but part of the modules' structure


def bpe_path() -> Path:
    """Return the path of CLIP's BPE vocabulary, which the `sam3` wheel lacks and open_clip ships.

    Raises `UserError` if open_clip is not installed. It is located, not imported.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / BPE_FILE
        if path.is_file():
            return path
    raise UserError(
        f"the tokenizer's vocabulary {BPE_FILE} is missing; pip install open-clip-torch"
    )


def build_model(config: Sam3Config) -> Sam3Image:
    """Return SAM3's image model on the CPU, in evaluation mode, its parameters without gradients.

    The parameters are uninitialised memory: load weights before using the model
    (`sam_tvm.models.sam3.weights.load_model` does both).
    """
    with SkipRandomValues():
        model = _published_model() if config == FULL.sam3 else compose_model(config)
    return model.eval().requires_grad_(False)


def _published_model() -> Sam3Image:
    from sam3.model_builder import build_sam3_image_model

    return build_sam3_image_model(
        checkpoint_path=None,
        load_from_HF=False,
        device="cpu",
        eval_mode=True,
        bpe_path=str(bpe_path()),
    )


def compose_model(config: Sam3Config) -> Sam3Image:
    """Compose the image model at the sizes of `config` from `sam3`'s classes."""
    from sam3.model.model_misc import TransformerWrapper
    from sam3.model.sam3_image import Sam3Image
    from sam3.model.vl_combiner import SAM3VLBackbone

    # scalp=1: the backbone drops the coarsest feature level.
    backbone = SAM3VLBackbone(visual=_vision(config), text=_text(config), scalp=1)
    transformer = TransformerWrapper(
        encoder=_fusion_encoder(config), decoder=_decoder(config), d_model=config.d_model
    )
    return Sam3Image(
        backbone=backbone,
        transformer=transformer,
        input_geometry_encoder=_geometry_encoder(config),
        segmentation_head=_segmentation_head(config),
        num_feature_levels=1,
        o2m_mask_predict=True,
        dot_prod_scoring=_scoring(config),
        use_instance_query=False,
        multimask_output=True,
        inst_interactive_predictor=None,
        matcher=None,
    )


def _vision(config: Sam3Config) -> nn.Module:
    from sam3.model.necks import Sam3DualViTDetNeck
    from sam3.model.vitdet import ViT

    trunk = ViT(
        img_size=config.image_size,
        pretrain_img_size=config.pretrain_image_size,
        patch_size=config.patch_size,
        embed_dim=config.vision_width,
        depth=config.vision_depth,
        num_heads=config.vision_heads,
        mlp_ratio=config.vision_mlp_ratio,
        window_size=config.window_size,
        global_att_blocks=config.global_blocks,
        norm_layer="LayerNorm",
        drop_path_rate=0.1,
        qkv_bias=True,
        bias_patch_embed=False,
        ln_pre=True,
        ln_post=False,
        use_abs_pos=True,
        tile_abs_pos=True,
        pretrain_use_cls_token=True,
        retain_cls_token=False,
        use_rope=True,
        use_interp_rope=True,
        rel_pos_blocks=(),
        return_interm_layers=False,
    )
    return Sam3DualViTDetNeck(
        position_encoding=_sine_positions(config, precompute_resolution=config.image_size),
        trunk=trunk,
        d_model=config.d_model,
        scale_factors=[4.0, 2.0, 1.0, 0.5],
        add_sam2_neck=False,
    )


def _text(config: Sam3Config) -> nn.Module:
    from sam3.model.text_encoder_ve import VETextEncoder
    from sam3.model.tokenizer_ve import SimpleTokenizer

    return VETextEncoder(
        d_model=config.d_model,
        tokenizer=SimpleTokenizer(bpe_path=str(bpe_path())),
        width=config.text_width,
        heads=config.text_heads,
        layers=config.text_layers,
        context_length=config.context_length,
        vocab_size=config.vocab_size,
    )


def _fusion_encoder(config: Sam3Config) -> nn.Module:
    from sam3.model.encoder import TransformerEncoderFusion

    layer = _encoder_layer(
        config, batch_first=True, pos_enc_at_attn=True, pos_enc_at_cross_attn_keys=False
    )
    return TransformerEncoderFusion(
        layer=layer,
        num_layers=config.fusion_layers,
        d_model=config.d_model,
        num_feature_levels=1,
        frozen=False,
        use_act_checkpoint=True,
        add_pooled_text_to_img_feat=False,
        pool_text_with_mask=True,
    )


def _decoder(config: Sam3Config) -> nn.Module:
    from sam3.model.decoder import TransformerDecoder, TransformerDecoderLayer

    layer = TransformerDecoderLayer(
        activation="relu",
        d_model=config.d_model,
        dim_feedforward=config.dim_feedforward,
        dropout=DROPOUT,
        n_heads=config.heads,
        cross_attention=_attention(config),
        use_text_cross_attention=True,
    )
    return TransformerDecoder(
        layer=layer,
        num_layers=config.decoder_layers,
        num_queries=config.num_queries,
        d_model=config.d_model,
        resolution=config.image_size,
        stride=config.patch_size,
        return_intermediate=True,
        box_refine=True,
        boxRPB="log",
        presence_token=True,
        dac=True,
        dac_use_selfatt_ln=True,
        num_o2m_queries=0,
        interaction_layer=None,
        frozen=False,
        use_act_checkpoint=True,
    )


def _geometry_encoder(config: Sam3Config) -> nn.Module:
    from sam3.model.geometry_encoders import SequenceGeometryEncoder

    layer = _encoder_layer(
        config, batch_first=False, pos_enc_at_attn=False, pos_enc_at_cross_attn_keys=True
    )
    return SequenceGeometryEncoder(
        pos_enc=_sine_positions(config),
        encode_boxes_as_points=False,
        points_direct_project=True,
        points_pool=True,
        points_pos_enc=True,
        boxes_direct_project=True,
        boxes_pool=True,
        boxes_pos_enc=True,
        d_model=config.d_model,
        num_layers=config.geometry_layers,
        layer=layer,
        use_act_ckpt=True,
        add_cls=True,
        add_post_encode_proj=True,
    )


def _segmentation_head(config: Sam3Config) -> nn.Module:
    from sam3.model.maskformer_segmentation import PixelDecoder, UniversalSegmentationHead

    stages = 3
    return UniversalSegmentationHead(
        hidden_dim=config.d_model,
        upsampling_stages=stages,
        pixel_decoder=PixelDecoder(
            hidden_dim=config.d_model, num_upsampling_stages=stages, interpolation_mode="nearest"
        ),
        cross_attend_prompt=_attention(config, dropout=0),
        presence_head=False,
        dot_product_scorer=None,
        aux_masks=False,
        act_ckpt=True,
    )


def _scoring(config: Sam3Config) -> nn.Module:
    from sam3.model.model_misc import MLP, DotProductScoring
    from torch import nn

    prompt_mlp = MLP(
        input_dim=config.d_model,
        hidden_dim=config.dim_feedforward,
        output_dim=config.d_model,
        num_layers=2,
        dropout=DROPOUT,
        residual=True,
        out_norm=nn.LayerNorm(config.d_model),
    )
    return DotProductScoring(d_model=config.d_model, d_proj=config.d_model, prompt_mlp=prompt_mlp)


def _encoder_layer(
    config: Sam3Config,
    *,
    batch_first: bool,
    pos_enc_at_attn: bool,
    pos_enc_at_cross_attn_keys: bool,
) -> nn.Module:
    """Return the pre-norm layer that the fusion and the geometry encoder repeat."""
    from sam3.model.encoder import TransformerEncoderLayer

    return TransformerEncoderLayer(
        activation="relu",
        d_model=config.d_model,
        dim_feedforward=config.dim_feedforward,
        dropout=DROPOUT,
        pre_norm=True,
        pos_enc_at_attn=pos_enc_at_attn,
        pos_enc_at_cross_attn_keys=pos_enc_at_cross_attn_keys,
        pos_enc_at_cross_attn_queries=False,
        self_attention=_attention(config, batch_first=batch_first),
        cross_attention=_attention(config, batch_first=batch_first),
    )


def _attention(
    config: Sam3Config, *, batch_first: bool = False, dropout: float = DROPOUT
) -> nn.Module:
    from sam3.model.model_misc import MultiheadAttentionWrapper

    return MultiheadAttentionWrapper(
        embed_dim=config.d_model, num_heads=config.heads, dropout=dropout, batch_first=batch_first
    )


def _sine_positions(config: Sam3Config, precompute_resolution: int | None = None) -> nn.Module:
    from sam3.model.position_encoding import PositionEmbeddingSine

    return PositionEmbeddingSine(
        num_pos_feats=config.d_model,
        normalize=True,
        scale=None,
        temperature=10000,
        precompute_resolution=precompute_resolution,
    )
