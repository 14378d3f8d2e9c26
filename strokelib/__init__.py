"""Functions behind the notebooks that re-implement Clèrigues et al. 2019.

A room imports only from rooms named before it:

    run.runtime, run.paths, run.portable, run.checks, run.saved, run.toml, run.variants, modalities, vocabulary,
    run.settings, run.worlds, run.digest, run.stages, run.commands, hardware, run.provenance, run.notebook, run.private,
    nifti, facts, layouts, patients, units, cases, isles2024, slabs, folds, unpacking, arrival, phantom.perfusion,
    phantom.fields, phantom.anatomy, phantom.patient, phantom.pathology, phantom.scan, phantom.cohort, phantom.truth,
    phantom.series, bolus, warp, registration, plausibility, preprocess, extra_inputs, stack, run.results, patches,
    network, whole_decoder, bare_decoder, group_norm, one_encoder_each, multi_scale, deep_supervision, pointwise,
    two_streams, packed, losses, metrics, voxelwise, inference, optimizer, steps, validation, training, crossvalidation,
    learning, postprocess, evaluation.resampling, evaluation.optimum, evaluation.gridsearch, evaluation.rule,
    evaluation.summary, evaluation.power, evaluation.stats, evaluation.by_fold, evaluation.stopping, evaluation.tables,
    evaluation.sentences, evaluation.agreement, evaluation.ranking, evaluation.optimism, evaluation.budget,
    evaluation.factors, evaluation.calibration, evaluation.ladder, evaluation.conformal, evaluation.imbalance,
    evaluation.remarks, evaluation.uncertainty, submission, evaluation.published, evaluation.entries,
    evaluation.leakage, evaluation.cohorts, evaluation.symmetry, own.scan, own.quantities, own.registry, own.volumes,
    own.series, own.slices, own.field, own.grid, own.checks, own.kinds, own.stored, own.arrival, own.dicom_files,
    own.dicom_volume, own.dicom, own.segmentation_object, own.folders, own.segment, raw_series, elsewhere,
    evaluation.information, evaluation.beyond, evaluation.finalists, evaluation.learning_curve, evaluation.chain,
    figures.style, figures.reliability, figures.cohort, figures.cohorts, figures.symmetry, figures.comparisons,
    figures.imbalance, figures.ladder, figures.mosaic, figures.network, figures.published, figures.raw_series,
    figures.beyond, figures.learning_curve, figures.finalists, figures.chain, figures.remarks, figures.report,
    figures.scans, figures.scores, figures.training, figures.trust, figures.viewer, own.viewer, figures.uncertainty,
    own.output, figures.leakage
"""
