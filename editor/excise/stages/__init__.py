"""The stages of a job, one thin file each: fetch inputs, call, write what `excise.run.layout` names as its output.

Every stage module has one function, ``run(context)``, which does the work and leaves each output whole or not at all.
No stage imports another; `excise.job.sequence` says which reads what.
"""
