"""Functions behind the notebooks that re-implement Clèrigues et al. 2019.

A room imports only from rooms named before it:

    run.runtime, run.paths, run.portable, run.checks, run.variants, modalities, vocabulary, run.settings, run.digest,
    run.stages, run.provenance, run.private, run.notebook, nifti, facts, layouts, patients, units, cases, folds,
    unpacking, arrival, phantom.perfusion, phantom.fields, phantom.anatomy, phantom.patient, phantom.pathology,
    phantom.scan, phantom.cohort, warp, registration, plausibility, preprocess, stack, run.results, patches, network,
    packed, losses, metrics, inference, optimizer, hardware, steps, validation, training, crossvalidation, postprocess,
    evaluation.optimum, evaluation.gridsearch, evaluation.rule, evaluation.resampling, evaluation.summary,
    evaluation.stats, evaluation.stopping, evaluation.tables, evaluation.sentences, evaluation.agreement,
    evaluation.ranking, evaluation.optimism, evaluation.budget, evaluation.factors, evaluation.calibration, submission,
    own.scan, figures.style, figures.cohort, figures.comparisons, figures.network, figures.scans, figures.scores,
    figures.training, figures.trust, figures.viewer, own.viewer
"""
