"""Golden cases: detection, spatial, image, linear algebra and update operators."""

from __future__ import annotations

from operator_cases import boxes, case, d, f, i, run, spd, u

LABELS = [[[0, 0.1, 0.1, 0.5, 0.6], [1, 0.4, 0.3, 0.9, 0.9]], [[1, 0.2, 0.2, 0.7, 0.5], [-1, -1, -1, -1, -1]]]
DETECTIONS = [
    [
        [0, 0.9, 0.1, 0.1, 0.5, 0.5],
        [0, 0.8, 0.12, 0.1, 0.52, 0.5],
        [1, 0.7, 0.1, 0.1, 0.5, 0.55],
        [1, 0.3, 0.6, 0.6, 0.9, 0.9],
        [0, 0.005, 0, 0, 1, 1],
    ]
]


def detection() -> list:
    x = f(1, 2, 3, 4)
    out = [
        case("contrib.MultiBoxPrior", [x], _grad=None),
        case("contrib.MultiBoxPrior", [x], _grad=None, sizes=(0.5, 0.25), ratios=(1, 2, 0.5)),
        case(
            "contrib.MultiBoxPrior",
            [x],
            _grad=None,
            sizes=(0.9,),
            ratios=(1, 3),
            clip=True,
            steps=(0.3, 0.2),
            offsets=(0.4, 0.6),
        ),
    ]
    anchors = boxes(1, 6)
    out += [
        case("contrib.MultiBoxTarget", [anchors, d(LABELS), f(2, 3, 6)], _grad=None),
        case(
            "contrib.MultiBoxTarget",
            [anchors, d(LABELS), f(2, 3, 6)],
            _grad=None,
            overlap_threshold=0.3,
            variances=(0.2, 0.2, 0.1, 0.1),
        ),
        case(
            "contrib.MultiBoxTarget",
            [anchors, d(LABELS), f(2, 3, 6)],
            _grad=None,
            negative_mining_ratio=1,
            negative_mining_thresh=0.5,
            minimum_negative_samples=1,
        ),
    ]
    score = u(0, 1, 1, 3, 6)
    out += [
        case("contrib.MultiBoxDetection", [score, f(1, 24, scale=0.3), anchors], _grad=None),
        case(
            "contrib.MultiBoxDetection",
            [score, f(1, 24, scale=0.3), anchors],
            _grad=None,
            nms_threshold=0.2,
            force_suppress=True,
            clip=False,
        ),
        case(
            "contrib.MultiBoxDetection",
            [score, f(1, 24, scale=0.3), anchors],
            _grad=None,
            threshold=0.4,
            nms_topk=3,
            background_id=2,
        ),
    ]
    rows = d(DETECTIONS)
    for attrs in (
        {"id_index": 0},
        {"id_index": 0, "force_suppress": True},
        {"id_index": 0, "valid_thresh": 0.01},
        {"id_index": 0, "topk": 2},
        {"id_index": 0, "overlap_thresh": 0.9},
        {"id_index": 0, "out_format": "center"},
        {"id_index": 0, "background_id": 0},
        {},
    ):
        out.append(case("contrib.box_nms", [rows], coord_start=2, score_index=1, **attrs))
    out += [
        case("contrib.box_non_maximum_suppression", [rows], coord_start=2, score_index=1, id_index=0),
        case("contrib.box_nms", [d(DETECTIONS[0])], coord_start=2, score_index=1, id_index=0),
    ]
    out += [
        case("contrib.box_iou", [boxes(3), boxes(4)], _grad=None),
        case("contrib.box_iou", [u(0.2, 0.8, 2, 4), u(0.2, 0.8, 3, 4)], _grad=None, format="center"),
    ]
    out += [
        case("contrib.bipartite_matching", [u(0, 1, 3, 4)], _grad=None, threshold=1e-12),
        case("contrib.bipartite_matching", [u(0, 1, 3, 2)], _grad=None, threshold=0.5, is_ascend=True),
        case("contrib.bipartite_matching", [u(0, 1, 2, 3, 4)], _grad=None, threshold=0.2, topk=1),
    ]
    out += [
        case(
            "contrib.box_encode",
            [d([[1, 0, -1]]), d([[0, 1, 0]]), boxes(1, 3), boxes(1, 2), d([0, 0, 0, 0]), d([0.1, 0.1, 0.2, 0.2])],
            _grad=None,
        ),
        case("contrib.box_decode", [f(1, 3, 4, scale=0.2), u(0.2, 0.8, 1, 3, 4)], _grad=None),
        case(
            "contrib.box_decode",
            [f(1, 3, 4, scale=0.2), boxes(1, 3)],
            _grad=None,
            std0=0.1,
            std1=0.1,
            std2=0.2,
            std3=0.2,
            clip=0.5,
            format="corner",
        ),
    ]
    rois = d([[0, 0, 0, 4, 4], [1, 1, 2, 6, 5], [0, 2, 2, 3, 3]])
    out += [
        case("ROIPooling", [f(2, 2, 8, 8), rois], _grad=[0], pooled_size=(2, 2), spatial_scale=1.0),
        case("ROIPooling", [f(2, 2, 6, 6), rois], _grad=[0], pooled_size=(3, 2), spatial_scale=0.5),
    ]
    for attrs in ({}, {"sample_ratio": 2}, {"aligned": True, "sample_ratio": 2}):
        out.append(
            case("contrib.ROIAlign", [f(2, 2, 8, 8), rois], _grad=[0], pooled_size=(2, 2), spatial_scale=0.7, **attrs)
        )
    out.append(
        case(
            "contrib.ROIAlign",
            [f(2, 4, 8, 8), rois],
            _grad=[0],
            pooled_size=(2, 2),
            spatial_scale=1.0,
            position_sensitive=True,
        )
    )
    return out


def spatial() -> list:
    x = f(1, 2, 4, 5)
    out = [
        case("contrib.BilinearResize2D", [x], height=7, width=6),
        case("contrib.BilinearResize2D", [x], height=2, width=3),
        case("contrib.BilinearResize2D", [x], scale_height=2.0, scale_width=1.5),
        case("contrib.BilinearResize2D", [x], height=7, width=6, align_corners=False),
        case("contrib.BilinearResize2D", [x, f(1, 1, 3, 3)], _grad=[0], mode="like"),
        case("contrib.BilinearResize2D", [x], scale_height=2, scale_width=2, mode="odd_scale"),
    ]
    out += [case("contrib.AdaptiveAvgPooling2D", [x], output_size=s) for s in (1, 2, (3, 2))] + [
        case("contrib.AdaptiveAvgPooling2D", [x])
    ]
    grid = u(-1.2, 1.2, 1, 2, 3, 3)
    out += [
        case("BilinearSampler", [x, grid]),
        case("BilinearSampler", [f(2, 1, 3, 3), u(-0.9, 0.9, 2, 2, 4, 2)]),
        case("GridGenerator", [f(2, 6)], transform_type="affine", target_shape=(3, 4)),
        case("GridGenerator", [f(1, 2, 3, 4)], transform_type="warp"),
        case(
            "SpatialTransformer",
            [x, f(1, 6, scale=0.5)],
            target_shape=(3, 3),
            transform_type="affine",
            sampler_type="bilinear",
        ),
    ]
    out += [
        case("Crop", [x], offset=(1, 1), h_w=(2, 3), num_args=1),
        case("Crop", [x, f(1, 1, 2, 2)], _grad=[0], num_args=2, center_crop=True),
    ]
    out += [case("Correlation", [f(1, 2, 5, 5), f(1, 2, 5, 5)], kernel_size=1, max_displacement=1, pad_size=1)]
    out += [
        case("contrib.fft", [f(2, 4)]),
        case("contrib.ifft", [f(2, 8)]),
        case("contrib.count_sketch", [f(2, 4), d([[0, 2, 1, 2]]), d([[1, -1, 1, 1]])], _grad=[0], out_dim=3),
    ]
    offsets = f(1, 18, 3, 3, scale=0.3)
    out += [
        case(
            "contrib.DeformableConvolution", [f(1, 2, 5, 5), offsets, f(3, 2, 3, 3), f(3)], kernel=(3, 3), num_filter=3
        ),
        case(
            "contrib.DeformableConvolution",
            [f(1, 2, 5, 5), offsets, f(3, 2, 3, 3)],
            kernel=(3, 3),
            num_filter=3,
            no_bias=True,
        ),
        case(
            "contrib.ModulatedDeformableConvolution",
            [f(1, 2, 5, 5), offsets, u(0.2, 1, 1, 9, 3, 3), f(3, 2, 3, 3), f(3)],
            kernel=(3, 3),
            num_filter=3,
        ),
    ]
    return out


def image() -> list:
    picture, small = i(255, 4, 5, 3, dtype="uint8"), u(0, 1, 3, 4, 5)
    out = [
        case("image.to_tensor", [picture]),
        case("image.to_tensor", [i(255, 2, 4, 5, 3, dtype="uint8")]),
        case("image.to_tensor", [u(0, 255, 4, 5, 3)]),
        case("image.normalize", [small], mean=0.5, std=0.2),
        case("image.normalize", [small], mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)),
        case("image.normalize", [u(0, 1, 2, 3, 4, 5)], mean=(0.1, 0.2, 0.3), std=0.5),
        case("image.flip_left_right", [u(0, 255, 4, 6, 3)]),
        case("image.flip_top_bottom", [picture]),
        case("image.crop", [picture], x=1, y=0, width=3, height=2),
        case("image.resize", [picture], size=(3, 2)),
        case("image.resize", [picture], size=8),
        case("image.resize", [u(0, 255, 4, 6, 3)], size=3, keep_ratio=True),
        case("image.resize", [picture], size=(10, 8), interp=0),
        case("image.adjust_lighting", [u(0, 255, 4, 5, 3)], alpha=(0.1, 0.2, 0.3)),
    ]
    return out


def linalg() -> list:
    a, b, c = f(2, 3, 4, dtype="float64"), f(2, 4, 5, dtype="float64"), f(2, 3, 5, dtype="float64")
    out = [
        case("linalg.gemm", [a, b, c]),
        case("linalg.gemm", [a, b, c], alpha=2.0, beta=0.5),
        case("linalg_gemm2", [a, b]),
        case("linalg.gemm2", [f(4, 3), f(4, 2)], transpose_a=True, alpha=0.5),
        case("linalg_gemm2", [f(3, 4), f(5, 4)], transpose_b=True),
        case("linalg.gemm2", [f(3, 4), f(3, 4)], transpose_b=True),
    ]
    for op in ("potrf", "potri", "sumlogdiag", "det", "slogdet", "inverse", "syevd"):
        out += [case("linalg." + op, [spd(3, 3)]), case("linalg." + op, [spd(2, 3, 3)])]
    out += [
        case("linalg.det", [f(2, 2, 2, dtype="float64")]),
        case("linalg.slogdet", [f(3, 3, dtype="float64")]),
        case("linalg.gelqf", [f(2, 3, dtype="float64")]),
    ]
    lower = f(3, 3, dtype="float64", scale=0.3, shift=1.0)
    for attrs in ({}, {"transpose": True}, {"rightside": True, "alpha": 2.0}, {"lower": False}):
        out += [
            case("linalg.trsm", [lower, f(3, 3, dtype="float64")], **attrs),
            case("linalg_trmm", [lower, f(3, 3, dtype="float64")], **attrs),
        ]
    out += [
        case("linalg.syrk", [f(2, 3, dtype="float64")]),
        case("linalg.syrk", [f(2, 3, dtype="float64")], transpose=True, alpha=0.5),
    ]
    out += [
        case("linalg.extractdiag", [f(3, 3)]),
        case("linalg.extractdiag", [f(2, 3, 3)], offset=1),
        case("linalg.makediag", [f(3)]),
        case("linalg.makediag", [f(2, 3)], offset=-1),
        case("linalg.extracttrian", [f(3, 3)]),
        case("linalg.extracttrian", [f(3, 3)], lower=False),
        case("linalg.maketrian", [f(6)]),
        case("linalg.maketrian", [f(3)], offset=1, lower=False),
    ]
    return out


def updates() -> list:
    w, g, s, p = f(2, 3), f(2, 3), f(2, 3, scale=0.1), u(0.1, 1, 2, 3)
    common = [{}, {"wd": 0.1, "rescale_grad": 0.5}, {"clip_gradient": 0.3, "wd": 0.01}]
    out = []
    for more in common:
        for op, inputs, attrs in (
            ("sgd_update", [w, g], {}),
            ("sgd_mom_update", [w, g, s], {"momentum": 0.9}),
            ("nag_mom_update", [w, g, s], {"momentum": 0.9}),
            ("signsgd_update", [w, g], {}),
            ("signum_update", [w, g, s], {"momentum": 0.9, "wd_lh": 0.05}),
            ("adam_update", [w, g, s, p], {}),
            ("rmsprop_update", [w, g, p], {}),
            ("rmspropalex_update", [w, g, u(1, 2, 2, 3), s, s], {}),
            ("ftrl_update", [w, g, s, p], {}),
        ):
            out.append(case(op, inputs, _grad=None, lr=0.1, **attrs, **more))
    half = f(2, 3, dtype="float16")
    out += [
        case("ftml_update", [w, g, p, p, s], _grad=None, lr=0.1, t=2),
        case("ftml_update", [w, g, p, p, s], _grad=None, lr=0.1, t=1, wd=0.1, clip_grad=0.5),
        case("rmsprop_update", [w, g, p], _grad=None, lr=0.1, gamma1=0.5, epsilon=1e-3, clip_weights=0.4),
        case("adam_update", [w, g, s, p], _grad=None, lr=0.1, beta1=0.5, beta2=0.7, epsilon=1e-2),
        case("lamb_update_phase1", [w, g, s, p], _grad=None, t=1, wd=0.1),
        case("lamb_update_phase1", [w, g, s, p], _grad=None, t=3, wd=0.0, bias_correction=False, clip_gradient=0.2),
        case("lamb_update_phase2", [w, g, d([1.5]), d([0.7])], _grad=None, lr=0.1),
        case("lamb_update_phase2", [w, g, d([0.0]), d([0.7])], _grad=None, lr=0.1),
        case("lamb_update_phase2", [w, g, d([1.5]), d([0.7])], _grad=None, lr=0.1, lower_bound=2.0, upper_bound=3.0),
        case("sgd_mom_update", [w, g, s], _grad=None, _out=[0], lr=0.1, momentum=0.5),
        case("adam_update", [w, g, s, p], _grad=None, _out=[0], lr=0.1),
        case("mp_sgd_update", [half, half, f(2, 3)], _grad=None, lr=0.1, wd=0.1),
        case("mp_sgd_mom_update", [half, half, s, f(2, 3)], _grad=None, lr=0.1, momentum=0.9),
        case("mp_nag_mom_update", [half, half, s, f(2, 3)], _grad=None, lr=0.1, momentum=0.9),
        case(
            "multi_sgd_update",
            [w, g, f(4), f(4)],
            _grad=None,
            _out=[0, 2],
            lrs=(0.1, 0.2),
            wds=(0.0, 0.1),
            num_weights=2,
        ),
        case(
            "multi_sgd_mom_update",
            [w, g, s, f(4), f(4), f(4)],
            _grad=None,
            _out=[0, 3],
            lrs=(0.1, 0.2),
            wds=(0.0, 0.1),
            momentum=0.9,
            num_weights=2,
        ),
        case("contrib.group_adagrad_update", [w, g, u(0.1, 1, 2, 1)], _grad=None, lr=0.1),
        case("multi_lars", [d([0.1, 0.2]), d([4, 9]), d([1, 2]), d([0.0, 0.1])], _grad=None, eta=0.01, eps=1e-6),
    ]
    return out


def pdfs() -> list:
    return [
        case("random_pdf_normal", [f(2, 3), f(2), u(0.5, 2, 2)], _grad=[0]),
        case("random_pdf_uniform", [u(0, 1, 2, 3), d([0, -1]), d([1, 2])], _grad=None),
        case("random_pdf_exponential", [u(0.1, 2, 2, 3), u(0.5, 2, 2)], _grad=[0]),
        case("random_pdf_poisson", [i(5, 2, 3), u(0.5, 2, 2)], _grad=None),
        case("random_pdf_gamma", [u(0.1, 2, 2, 3), u(0.5, 2, 2), u(0.5, 2, 2)], _grad=[0]),
        case("random_pdf_normal", [f(2, 3), f(2), u(0.5, 2, 2)], _grad=[0], is_log=True),
    ]


def make() -> None:
    run("ops_vision", detection() + spatial() + image())
    run("ops_linalg", linalg() + updates() + pdfs())


if __name__ == "__main__":
    make()
